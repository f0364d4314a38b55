"""dfedge service hook: a hook of this host, run as root for somebody who is not."""

from argparse import Namespace

from dfedge.cli.field import image_label, word
from dfedge.cli.output import Output
from dfedge.cli.reach import config_of, held_image, running_agent
from dfedge.core.errors import NotFound
from dfedge.install.hookcall import run_hook
from dfedge.install.place import Place


def run(args: Namespace, out: Output) -> int:
    """Ask for it, for an image that the node holds whole, and wait until it has ended."""
    with running_agent(config_of(args)) as agent:
        image = held_image(agent, args.ref)
    label = image_label(image)
    if not image.get("complete"):
        raise NotFound(f"{label}: this node does not hold all of it", f"dfedge get {label}")
    document = {**{key: image[key] for key in ("image", "name", "version")}, "hook": args.hook}
    if args.dry_run:
        out.answer({**document, "dry_run": True}, f"would run the hook {args.hook} for {label}")
        return 0
    run_hook(
        Place.of_system().hook_socket,
        args.hook,
        word(image, "image"),
        word(image, "name"),
        word(image, "version"),
        lambda: out.note(f"the hook {args.hook} runs"),
    )
    out.answer(document, f"the hook {args.hook} for {label} has ended well")
    return 0
