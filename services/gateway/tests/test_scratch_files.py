"""scratch"""
from services.gateway.tests.gateway_rig import Served
async def test_it(served: Served) -> None:
    files = served.sdk().beta.files
    up = await files.upload(file=("dir/a.txt", b"hello", "text/plain"))
    print(up)
    print(await files.retrieve_metadata(up.id))
    print([f async for f in files.list()])
    print(await files.delete(up.id))
