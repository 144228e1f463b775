#!/bin/sh
# Installs the S3 server that tests run against, unless it is there, and prints its path. Takes about a minute.
set -eu
cd "$(dirname "$0")/.."

version=v1.8.0
folder=$PWD/.cache/tests/versitygw-$version
server=$folder/versitygw

mkdir -p .cache/tests
exec 9>"$folder.lock"
flock 9
if ! [ -x "$server" ]; then
    if ! command -v go >/dev/null 2>&1; then
        echo "install_s3_server: no 'go' on PATH; the tests of the S3 blob store need it to build a server" >&2
        exit 1
    fi
    echo "install_s3_server: building versitygw $version" >&2
    GOBIN=$folder.draft go install "github.com/versity/versitygw/cmd/versitygw@$version" >&2
    rm -rf "$folder"
    mv "$folder.draft" "$folder"
fi
echo "$server"
