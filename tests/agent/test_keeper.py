"""The loop, by a clock of its own."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from extauthz.agent import Issued, Refused, StateFile, TokenKeeper, Unanswered
from extauthz.agent.sources import Answer
from tests.agent.conftest import jwt

DOWN = Unanswered("127.0.0.1: no answer within 5 s")


class Metrics:
    """Notes what it is told."""

    def __init__(self) -> None:
        self.outcomes: list[str] = []
        self.lifetime: float | None = None
        self.unwritten = 0

    def renewed(self, outcome: str) -> None:
        self.outcomes.append(outcome)

    def holds(self, lifetime: float | None) -> None:
        self.lifetime = lifetime

    def not_written(self) -> None:
        self.unwritten += 1


class World:
    """A keeper, what it asks, and time, which passes only here."""

    def __init__(self, folder: Path, *, chance: float = 0.0, file: bool = True) -> None:
        self.time = 1000.0
        self.wall = 1_790_000_000.0
        self.answers: list[Answer] | Callable[[], Answer] = []
        self.asked: list[tuple[float, str]] = []
        self.unsettled = ""
        self.metrics = Metrics()
        self.file = StateFile(str(folder / "token"))
        self.keeper = TokenKeeper(
            self,
            self.file if file else None,
            self.metrics,
            clock=lambda: self.time,
            now=lambda: self.wall,
            chance=lambda: chance,
        )

    async def get(self, before: str) -> Answer:
        self.asked.append((self.time, before))
        return self.answers() if callable(self.answers) else self.answers.pop(0)

    async def settle(self) -> str:
        return self.unsettled

    async def until(self, end: float) -> None:
        """Let the keeper work until a time."""
        for _ in range(1000):
            wait = await self.keeper.step()
            if self.time + wait > end:
                break
            self.time += wait
        else:
            pytest.fail("the keeper does not wait")
        self.time = end

    @property
    def times(self) -> list[float]:
        return [round(at - 1000, 1) for at, _ in self.asked]


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


async def test_renewed_at_two_thirds(world: World) -> None:
    """Again and again, and the file has the newest one."""
    world.answers = [Issued(f"token-{number}", 300) for number in range(4)]
    await world.until(1650)
    assert world.times == [0, 200, 400, 600]
    assert [before for _, before in world.asked] == ["", "token-0", "token-1", "token-2"]
    assert world.file.read() == "token-3"
    assert world.metrics.outcomes == ["done"] * 4


async def test_many_agents_do_not_ask_in_step(tmp_path: Path) -> None:
    """A tenth of the life earlier at most, never later than two thirds."""
    world = World(tmp_path, chance=0.999)
    world.answers = [Issued("token-0", 300), Issued("token-1", 300)]
    await world.until(1180)
    assert 170 <= world.times[1] <= 171


async def test_an_outage_is_bridged_by_the_old_token(world: World) -> None:
    """It stays until it ends; questions come with growing pauses; the service's return ends it."""
    world.answers = [Issued("token-0", 300), *[DOWN] * 40]
    await world.until(1299)
    assert world.file.read() == "token-0"
    assert world.keeper.current() is not None
    pauses = [round(later - earlier, 1) for earlier, later in zip(world.times[1:], world.times[2:], strict=False)]
    assert pauses[:4] == [0.5, 1, 2, 4]
    assert max(pauses) <= 15
    assert len(pauses) < 25
    assert "no answer" in world.keeper.fault
    world.answers = [Issued("token-1", 300)]
    await world.until(1320)
    assert world.file.read() == "token-1"
    assert world.keeper.fault == ""


@pytest.mark.parametrize("asked", [20.0, 60.0, 86_400.0])
async def test_the_service_may_ask_for_a_pause(world: World, asked: float) -> None:
    """``Retry-After`` is respected, for a minute at most; a shorter one than the pause of our own changes nothing."""
    world.answers = [Unanswered("429", retry_after=asked), Unanswered("503", retry_after=0.1), Issued("token-0", 300)]
    await world.until(1100)
    assert world.times == [0, min(asked, 60), min(asked, 60) + 1]


async def test_who_was_told_to_pause_does_not_come_in_step(tmp_path: Path) -> None:
    """Never before it was said, and a tenth later at most."""
    world = World(tmp_path, chance=0.999)
    world.answers = [Unanswered("503", retry_after=20), Issued("token-0", 300)]
    await world.until(1025)
    assert 21.9 <= world.times[1] <= 22


async def test_a_token_that_has_ended_is_removed(world: World) -> None:
    """It opens nothing; that there is none is a clearer word. Afterwards a new one comes as if nothing had been."""
    world.answers = [Issued("token-0", 300), *[DOWN] * 60]
    await world.until(1301)
    assert world.keeper.current() is None
    assert world.file.read() is None
    assert world.metrics.lifetime is None
    world.answers = [Issued("token-1", 300)]
    await world.until(1340)
    assert world.file.read() == "token-1"


async def test_a_short_life_has_several_attempts_left(world: World) -> None:
    """Pauses fit into what is left of it."""
    world.answers = [Issued("token-0", 30), DOWN, DOWN, DOWN, DOWN, *[DOWN] * 30]
    await world.until(1030)
    assert len(world.asked) >= 6


async def test_lives_of_nearly_nothing_do_not_spin(world: World) -> None:
    """A service that gives tokens for a millisecond is asked five times a second at most."""
    world.answers = lambda: Issued("token-of-a-moment", 0.001)
    await world.until(1010)
    assert len(world.asked) <= 51


async def test_the_clock_of_the_wall_may_jump(world: World) -> None:
    """By days, forth and back: lives are counted by another one."""
    world.answers = [Issued("token-0", 300), Issued("token-1", 300)]
    await world.until(1100)
    for jump in (86_400, -200_000):
        world.wall += jump
        await world.until(world.time + 20)
        assert world.keeper.current() is not None
        assert world.file.read() == "token-0"
    await world.until(1250)
    assert world.times == [0, 200]


async def test_a_machine_that_slept_renews_at_once(world: World) -> None:
    """The clock goes on while it sleeps, and the token has ended meanwhile."""
    world.answers = [Issued("token-0", 300), Issued("token-1", 300)]
    await world.until(1100)
    world.time += 10_000
    await world.keeper.step()
    assert world.file.read() == "token-1"


async def test_an_earlier_run_is_gone_on_with(world: World) -> None:
    """A restart asks for nothing as long as the token is young."""
    token = jwt("x", 300, age=0)
    world.wall = time.time() + 100
    world.file.write(token)
    world.answers = [Issued("token-1", 300)]
    await world.keeper.restore()
    await world.until(1090)
    assert world.times == []
    await world.until(1110)
    assert world.times == [pytest.approx(100, abs=2)]


@pytest.mark.parametrize("content", ["opaque-token-of-old", "a.b.c", jwt("x", 300, age=400)])
async def test_a_file_that_tells_no_life_is_not_believed(world: World, content: str) -> None:
    """Opaque, garbage, or over: a new token is asked for at once."""
    world.wall = time.time()
    world.file.write(content)
    world.answers = [Issued("token-0", 300)]
    await world.keeper.restore()
    await world.until(1001)
    assert world.file.read() == "token-0"


async def test_a_refusal_is_asked_again_slowly(world: World) -> None:
    """Somebody may mend it: the secret, the client. Nothing is given up."""
    world.answers = lambda: Refused("the token service answered 401 invalid_client")
    await world.until(1600)
    assert set(world.metrics.outcomes) == {"refused"}
    assert 30 <= len(world.asked) <= 50


async def test_a_token_that_can_not_be_written_is_tried_again(world: World) -> None:
    """It is in force for who asks the page; the file has the old one until that ends."""
    world.answers = [Issued("token-0", 300), Issued("token-1", 300)]
    await world.until(1100)
    folder = world.file.path.parent
    moved = folder.rename(folder.with_name("away"))
    await world.until(1210)
    held = world.keeper.current()
    assert held is not None
    assert held.token == "token-1"
    assert not world.keeper.is_written
    assert "can't be written" in world.keeper.fault
    assert 5 <= world.metrics.unwritten <= 15
    moved.rename(folder)
    await world.until(1215)
    assert world.file.read() == "token-1"
    assert world.keeper.fault == ""


async def test_hurry(world: World) -> None:
    """Somebody asks for a new token now."""
    world.answers = [Issued("token-0", 300), Issued("token-1", 300)]
    await world.until(1010)
    world.keeper.hurry()
    await world.until(1011)
    assert world.times == [0, 10]


async def test_without_a_file(tmp_path: Path) -> None:
    """For the page alone nothing touches a disk."""
    world = World(tmp_path, file=False)
    world.answers = [Issued("token-0", 300)]
    await world.until(1010)
    assert world.keeper.current() is not None
    assert world.keeper.is_written
    assert world.file.read() is None
