"""An SSH connection from this process to itself, to see that the cryptography works on this machine."""

from typing import Any, Final

import anyio
import asyncssh

from dfedge.transfer.ssh import AES, CHACHA, KEX

CIPHERS: Final = (AES, CHACHA)
_TIMEOUT: Final = 60.0  # seconds; a slow board takes some
_NAME: Final = "selftest"
_KEY: Final = "ssh-ed25519"


async def loopback(cipher: str, data: bytes) -> str:
    """Send `data` there and back under this cipher, both sides proven by keys, and return the cipher that was agreed.

    Raises OSError, asyncssh.Error and TimeoutError, and ValueError where other bytes came back.
    """
    host, client = asyncssh.generate_private_key(_KEY), asyncssh.generate_private_key(_KEY)
    algorithms: dict[str, Any] = {"kex_algs": list(KEX), "encryption_algs": [cipher], "compression_algs": ["none"]}
    with anyio.fail_after(_TIMEOUT):
        server = await asyncssh.listen(
            "127.0.0.1",
            0,
            config=None,
            server_host_keys=[host],
            authorized_client_keys=asyncssh.import_authorized_keys(client.export_public_key().decode("ascii")),
            process_factory=_echo,
            encoding=None,
            **algorithms,
        )
        try:
            async with asyncssh.connect(
                "127.0.0.1",
                server.get_port(),
                config=None,
                username=_NAME,
                client_keys=[client],
                agent_path=None,
                known_hosts=([host.convert_to_public()], [], []),
                **algorithms,
            ) as conn:
                done = await conn.run(_NAME, input=data, encoding=None)
                agreed = str(conn.get_extra_info("recv_cipher"))
        finally:
            server.close()
            await server.wait_closed()
    if done.stdout != data:
        raise ValueError(f"{cipher}: {len(data):,} bytes came back changed")
    return agreed


async def _echo(process: asyncssh.SSHServerProcess[bytes]) -> None:
    while block := await process.stdin.read(64 * 1024):
        process.stdout.write(block)
        await process.stdout.drain()
    process.exit(0)
