"""Settings: read once from the environment (``SEGMENTS_…``) and one TOML file, then frozen."""

from __future__ import annotations

import math
import os
import socket
from contextlib import suppress
from pathlib import Path
from typing import Final, Literal

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, TomlConfigSettingsSource

#: MiB of users' states at least and at most, where nobody says how many, and the part of the memory between them
_LEAST_CACHE: Final = 256
_MOST_CACHE: Final = 1_024
_CACHE_PART: Final = 8


def memory_bytes(of: Path = Path("/proc/self/cgroup"), groups: Path = Path("/sys/fs/cgroup")) -> int:
    """What this process may have: the machine's memory, or the least limit of the control groups that it is in."""
    least = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    lines: list[str] = []
    with suppress(OSError):
        lines = of.read_text().splitlines()
    for line in lines:
        _, kinds, path = line.split(":", 2)
        if not kinds:
            top, limit = groups, "memory.max"
        elif "memory" in kinds.split(","):  # the first version of control groups has a tree for each kind
            top, limit = groups / "memory", "memory.limit_in_bytes"
        else:
            continue
        group = top / path.lstrip("/")
        for each in (group, *group.parents):
            with suppress(OSError, ValueError):  # not there, as in a container; or "max"
                least = min(least, int((each / limit).read_text()))
            if each == top:
                break
    return least


def usual_cache_mb(memory: int) -> int:
    """MiB of users' states of a worker that may have so many bytes of memory."""
    return max(_LEAST_CACHE, min(_MOST_CACHE, memory // _CACHE_PART // 2**20))


class Settings(BaseSettings):
    """Every setting of the service. Environment wins over the file named by ``SEGMENTS_CONFIG``."""

    model_config = SettingsConfigDict(env_prefix="SEGMENTS_", frozen=True, extra="forbid")

    app: str = Field(
        "segments", description="Name of the service: in group, transactional ids, internal topics and directory."
    )
    bootstrap: str = Field("127.0.0.1:9092", description="Kafka bootstrap servers, comma separated.")
    topic_prefix: str = Field(
        "", description="Put before every name (topics, group, ids, directory); separates installations on one cluster."
    )
    partitions: int = Field(4, ge=1, description="Partitions of the topics that `segments topics` creates.")
    replication: int = Field(1, ge=1, description="Replication factor of created topics.")
    retention_days: int = Field(30, ge=1, description="Days that events and changes are kept.")
    data_dir: Path = Field(Path(".segments/state"), description="Directory of the RocksDB caches of this worker.")
    worker_name: str = Field(
        default_factory=socket.gethostname, description="Name of this worker in logs; its state lives under it."
    )
    segments_file: Path | None = Field(
        None,
        description="TOML file of segment definitions, or `demo` for the built-in set: in force only if none are yet.",
    )
    keep_unused_days: float = Field(
        7.0, ge=0, description="Days that what no definition counts any more is still counted, should it come back."
    )
    clock: Literal["wall", "event"] = Field(
        "wall",
        description="What time drives window expiry: the wall clock, or the largest event time seen in the partition "
        "(for replays of old data and audits).",
    )
    max_ahead_seconds: float = Field(
        600.0,
        gt=0,
        description="Events further ahead of their arrival than this (seconds) are refused; "
        "from one second on they wait for their time.",
    )
    min_event_time: float = Field(
        946_684_800.0, gt=0, description="Events before this time (seconds since the epoch; 2000-01-01) are refused."
    )
    max_record_bytes: int = Field(1_048_576, gt=0, description="Larger event records are refused.")
    max_text_chars: int = Field(20_000, gt=0, description="Events with longer text are refused.")
    batch_records: int = Field(
        400_000,
        ge=1,
        description="At most this many records go into one transaction; fewer where their users take much memory.",
    )
    batch_bytes: int = Field(
        64 * 1024 * 1024, ge=1_048_576, description="At most this many bytes of records go into one transaction."
    )
    queued_bytes: int = Field(
        512 * 1024 * 1024,
        ge=1_048_576,
        description="At most about this many bytes of records wait for their turns, those of all partitions together.",
    )
    give_up_seconds: float = Field(
        600.0, gt=0, description="A turn that Kafka refuses for so long, whatever is tried, ends the worker."
    )
    turn_interval_ms: float = Field(
        5.0,
        ge=0,
        description="A partition begins its transactions no closer together than this, unless it is behind; further "
        "apart where more than eight are busy.",
    )
    processing_guarantee: Literal["exactly_once", "at_least_once"] = Field(
        "exactly_once",
        description="at_least_once writes without transactions: a crash may repeat changes, and two workers that both "
        "believe to own a partition are not kept apart.",
    )
    transaction_timeout_ms: int = Field(60_000, ge=1_000, description="Kafka transaction timeout.")
    session_timeout: float = Field(10.0, ge=1.0, description="Seconds without heartbeat until a worker is expelled.")
    stuck_seconds: float = Field(
        120.0, gt=0, description="A partition that stands still for so long, with records to read, ends the worker."
    )
    static_membership: bool = Field(
        False,
        description="Join the group under the worker's name: a restart within the session timeout moves no partition, "
        "but after an orderly stop as well the partitions wait for the session timeout.",
    )
    standby: bool = Field(
        False, description="Follow the state of all partitions that other workers own: taking one over is quick."
    )
    standby_replicas: int = Field(
        0, ge=0, description="Instead of all: each partition is followed by so many of the other workers; 0: by none."
    )
    turn_threads: int = Field(
        8, ge=1, description="Threads for turns and lookups; they wait for RocksDB more than they compute."
    )
    slots: int = Field(
        2,
        ge=1,
        le=16,
        description="Producers of a worker: each commits turns of its part of the partitions, a transaction at a time.",
    )
    restore_threads: int = Field(
        4,
        ge=1,
        description="Threads for restores, one for each partition, and for rewriting files; turns go on meanwhile.",
    )
    cache_mb: int = Field(
        default_factory=lambda: usual_cache_mb(memory_bytes()),
        ge=1,
        description="MiB of memory for users' states, of all partitions together, a turn's copies included; who was "
        "not seen for long goes, and is read from the store with the next event. Unless set: an eighth of the memory "
        "that the worker may have, but from 256 to 1,024.",
    )
    cached_users: int | None = Field(None, description="Without effect: cache_mb is what bounds memory.")
    cached_ids: int | None = Field(None, description="Without effect: cache_mb is what bounds memory.")
    rocksdb_cache_mb: int = Field(256, ge=8, description="Block cache and write buffers shared by all partitions.")
    followees: int = Field(64, ge=1, description="Followees kept for a user (newest first).")
    graph_epsilon: float = Field(0.02, ge=0.0, description="A vector that moved less than this is not sent again.")
    encode_batch: int = Field(128, ge=1, description="Most users encoded together.")
    encode_process: bool = Field(
        True,
        description="Text model and graph layers run in a process of their own, which takes what the turns leave; "
        "false: in the worker, which has torch in memory then.",
    )
    encode_drift_events: int = Field(16, ge=1, description="Re-encode a user after this many events without one.")
    text_model: str = Field("", description="Path of a Hugging Face BERT; empty: the packaged MiniLM-L6.")
    text_precision: Literal["auto", "float32", "int8", "bf16"] = Field(
        "auto",
        description="What the text model computes in: what the installation's first worker recorded. auto: it measures "
        "whether bf16 is faster; another one is insisted on. int8 is for a CPU with VNNI.",
    )
    device: str = Field("auto", description="auto, cpu, or a torch device such as cuda:0.")
    encoder_artifact: Path | None = Field(None, description="safetensors with trained fusion and GNN weights.")
    torch_threads: int = Field(1, ge=1, description="Threads that torch may use for one operation.")
    web_host: str = Field("127.0.0.1", description="Address of page, metrics and health; loopback by default.")
    web_port: int = Field(6066, ge=0, le=65_535, description="Port of page, metrics and health.")
    advertised_url: str = Field(
        "", description="Where other workers reach this one's page, as http://host:port; empty: web_host and web_port."
    )
    lag_interval: float = Field(2.0, gt=0, description="Seconds between two looks at the broker's end offsets.")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field("INFO", description="Log level.")
    value_format: Literal["change", "audience"] = Field(
        "change", description="Value of segment-changes: our own, or Segment's Audience Entered / Exited track calls."
    )
    erasure_secret: SecretStr = Field(
        SecretStr(""), description="Key of the hash that stands for erased users; the same for all workers, for good."
    )
    erasure_guard_days: float = Field(
        30.0, gt=0, description="Days that old events do not bring an erased user back; as long as events are kept."
    )
    state_ttl_days: float = Field(
        0.0, ge=0, description="Days without an event after which a known user's state expires; 0: never."
    )
    anonymous_ttl_days: float = Field(
        90.0, ge=0, description="The same for ids of which no event said that they are a known user's; 0: never."
    )
    scrub_seconds: float = Field(
        3600.0, ge=0, description="After erasures the local files are rewritten, at most once in so many seconds."
    )
    kafka_security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        "PLAINTEXT", description="How both Kafka clients connect."
    )
    kafka_sasl_mechanism: str = Field("PLAIN", description="SASL mechanism, when the protocol is SASL_….")
    kafka_sasl_username: str = Field("", description="SASL user name.")
    kafka_sasl_password: SecretStr = Field(SecretStr(""), description="SASL password; never printed.")
    kafka_ssl_cafile: str = Field("", description="CA certificates (PEM) for TLS; empty: the system's.")

    @field_validator("segments_file", mode="before")
    @classmethod
    def _none_if_empty(cls, value: object) -> object:
        return None if value == "" else value

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        sources: list[PydanticBaseSettingsSource] = [init_settings, env_settings]
        if path := os.environ.get("SEGMENTS_CONFIG"):
            if not Path(path).is_file():
                raise FileNotFoundError(f"SEGMENTS_CONFIG names {path}, which is not a file")
            sources.append(TomlConfigSettingsSource(settings_cls, toml_file=path))
        return tuple(sources)

    @property
    def installation(self) -> str:
        """The name of what is one installation's alone: its group, transactional ids, directory, source of events."""
        return f"{self.topic_prefix}{self.app}"

    @property
    def cache_bytes(self) -> int:
        """Of users' states in memory."""
        return self.cache_mb * 1024 * 1024

    @property
    def without_effect(self) -> list[str]:
        """Variables that are set and mean nothing any more."""
        old = {"SEGMENTS_CACHED_USERS": self.cached_users, "SEGMENTS_CACHED_IDS": self.cached_ids}
        return [name for name, value in old.items() if value is not None]

    @property
    def state_dir(self) -> Path:
        """Where this worker keeps its local state."""
        return self.data_dir / self.worker_name / self.installation

    @property
    def ttls(self) -> tuple[float, float]:
        """Seconds without an event after which states of known users, and of anonymous ids, expire; inf: never."""
        if self.clock != "wall":
            return math.inf, math.inf
        return self.state_ttl_days * 86_400.0 or math.inf, self.anonymous_ttl_days * 86_400.0 or math.inf

    @property
    def secrets(self) -> list[str]:
        """What must not stand in any log."""
        return [self.kafka_sasl_password.get_secret_value(), self.erasure_secret.get_secret_value()]

    def librdkafka(self) -> dict[str, str | int | float | bool]:
        """Connection settings for confluent-kafka clients."""
        conf: dict[str, str | int | float | bool] = {
            "bootstrap.servers": self.bootstrap,
            "security.protocol": self.kafka_security_protocol,
        }
        if self.kafka_security_protocol.startswith("SASL"):
            conf["sasl.mechanism"] = self.kafka_sasl_mechanism
            conf["sasl.username"] = self.kafka_sasl_username
            conf["sasl.password"] = self.kafka_sasl_password.get_secret_value()
        if self.kafka_ssl_cafile:
            conf["ssl.ca.location"] = self.kafka_ssl_cafile
        return conf
