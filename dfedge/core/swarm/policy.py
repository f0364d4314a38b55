"""The knobs of a swarm: each with its unit, and why its default is what it is."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Policy:
    """How one node behaves in one swarm. The defaults rest on the simulations in tests/sim."""

    tick: float = 0.25
    """Seconds between two Ticks: a quarter of the shortest deadline below."""

    # Asking
    depth_near: int = 2
    """Pieces outstanding per peer up to `near` peers: one on the wire, one behind it."""
    depth_far: int = 1
    """The same above `near` peers, where two make the swarm a third slower: both wait in queues elsewhere."""
    near: int = 16
    """Peers up to which `depth_near` holds."""
    min_outstanding: int = 8
    """Pieces outstanding in all, up to `near` peers; with more peers than this, one per peer."""
    far_outstanding: int = 4
    """The same above `near` peers. What waits in one queue cannot be asked of a peer that has it a moment later and
    idles: with one per peer, a fleet of 300 at 24 neighbours took 7 % longer, with 3 or 8 as long as with 4."""
    far_slow: float = 4.0
    """A peer that takes this many times the lower quartile of all to serve a piece is slow: what it owes is not counted
    among these, or a few slow ones would keep us from the rest. At 2, those whose queue is long for a moment are."""
    far_bytes: int = 1024 * 1024
    """Bytes that may always be outstanding in all, for small pieces: 8 ms of a gigabit link."""
    stalled_s: float = 1.0
    """Seconds without a byte from anybody after which peers that owe nothing are asked beyond that: silent ones must
    not keep us from the rest."""
    max_outstanding_bytes: int = 16 * 1024 * 1024
    """Bytes outstanding in all (always at least one piece): they are held in memory until they are proven."""
    few_sources: int = 4
    """With fewer peers than this to ask, the depth goes by `pipeline_bytes`, or each request waits for the last."""
    pipeline_bytes: int = 4 * 1024 * 1024
    """Bytes outstanding per peer when there are few: 32 ms of a gigabit link, so that reading, proving and sending at
    the peer overlap. 1 MiB made one peer a fifth slower."""
    snub_s: float = 2.0
    """Seconds without a byte, while something is owed, after which a peer is snubbed: one TCP timeout and a retry."""
    first_snub_s: float = 4.0
    """The same before anything was served to us, when nobody knows yet how fast this swarm is."""
    patience: float = 4.0
    """A deadline is never under this many usual service times, so a slow link is not taken for a dead peer."""
    probe_s: float = 2.0
    """Seconds between two probes of a snubbed peer; doubles to `max_probe_s`."""
    max_probe_s: float = 60.0
    """Seconds: a peer that came back is found again within a minute."""
    endgame_s: float = 0.25
    """Seconds a last piece that has begun to come is waited for before an idle peer is asked too."""
    endgame_patience: float = 2.0
    """The same in usual service times; the later of the two counts."""
    move_s: float = 0.05
    """Seconds after which a last piece that its peer has not begun to send moves to an idle peer: it wastes nothing."""
    move_patience: float = 1.0
    """The same in usual service times; the later of the two counts."""

    # Seeding
    window: int = 6
    """W: pieces a seed has shown to one peer, that it lacks or has not passed on. 2 starves when a Have is late by
    20 ms, 8 gains nothing more."""
    first_window: int = 2
    """The same for a peer that has passed on nothing yet: it may be slow."""
    open_bytes: int = 8 * 1024 * 1024
    """Bytes shown ahead to one peer when seeds are no fewer than leechers: 67 ms of a gigabit link."""
    slow: float = 2.0
    """A peer whose pieces take this many times the lower quartile to be passed on is given one at a time."""
    backlog_s: float = 2.0
    """Seconds after which a piece that nobody fetched from its first holder counts no more: they may not reach
    each other. Never under four usual times to the first or to a second copy."""
    pending_s: float = 10.0
    """Seconds after which a piece that was shown and not taken may be shown to another."""

    first_pending_s: float = 60.0
    """The same before anything was taken, when nobody knows yet how slow the link is."""

    # Serving
    slots: int = 24
    """Peers served at a time: a cap on memory, not a limit to choose by. All are served when they fit."""
    rotate_s: float = 10.0
    """Seconds between two rotations when they do not fit: a few pieces on a slow link, so a slot is worth having."""

    def depth(self, peers: int) -> int:
        """D: pieces outstanding at one of so many peers."""
        return self.depth_near if peers <= self.near else self.depth_far

    def most_asked(self, peers: int, piece_bytes: int) -> int:
        """C: pieces of a size that are outstanding in all."""
        if peers <= self.near:
            return max(self.min_outstanding, peers)
        return max(self.far_outstanding, min(peers, self.far_bytes // max(1, piece_bytes)))

    def open_window(self, piece_bytes: int) -> int:
        """Pieces shown ahead to a peer when there are seeds enough; a Have holds 1,024."""
        return max(16, min(1024, self.open_bytes // max(1, piece_bytes)))
