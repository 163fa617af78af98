"""steadywire's simulator: the same protocol machines in virtual time, on networks that fail.

    from simulation import Outage, load_scenario, run

    result = run(load_scenario("elevator"), seed=7)       # a name of the library, or a file
    result.is_ok, result.verdicts["G3"].status, Frames(result.trace_index)["messages"]

Import everything that a notebook or a script needs from here, from `simulation.results` (frames, figures), from
`simulation.studies` (many runs: sweeps, intervals) and from `simulation.testing` (Hypothesis strategies). Modules below are
internal. To read the code, follow the folders in this order:

    clock, random      virtual time; random numbers by key
    scenario/          what is simulated: population, workload, paths, faults, server, parameters, seed
    network/           how bytes are transported
    hosts/             clients, server, store: the endpoints
    world              runs one scenario
    trace/             the records of a run;  checks/ the guarantees, checked on a trace;  results/ frames and figures
    studies/           experiments of many runs
    emulator/          the same network faults for real sockets;  processes/ runs of real processes, demo, fidelity
    adversary/         generated interleavings of bare machines;  testing/ Hypothesis strategies;  validation/ closed forms
    replay/            recorded real runs, simulated again
    cli/               the command `steadywire`
"""

from typing import TYPE_CHECKING

from reference.public_names import imported_on_use

if TYPE_CHECKING:
    from reference.protocol.config import ClientConfig, ServerConfig
    from reference.protocol.policies.fallback import AfterEither, AfterFailures, AfterSeconds, NeverFallBack
    from reference.protocol.policies.keepalive import (
        AfterSilence,
        Due,
        EveryInterval,
        FreshnessPoints,
        MissesInARow,
        NoPings,
        PhiAccrual,
        PhiExponential,
        Signs,
    )
    from reference.protocol.policies.reconnect import FullJitter
    from simulation.checks.checkers import check
    from simulation.checks.verdicts import Verdict
    from simulation.emulator import open_emulator
    from simulation.random import RandomStreams
    from simulation.replay.live import LiveRecording
    from simulation.replay.live import replay as replay_recording
    from simulation.results.frames import Frames
    from simulation.scenario import library
    from simulation.scenario.distributions import Constant, Empirical, Exponential, LogNormal, Pareto, Uniform
    from simulation.scenario.drawn_faults import DrawnFaults
    from simulation.scenario.faults import (
        BackgroundTab,
        BlockUpgrade,
        ClockStep,
        DnsFailure,
        Failover,
        HalfOpen,
        LoadBalancerCut,
        NetworkChange,
        Outage,
        Pause,
        Refuse,
        Reset,
        RollingDeploy,
        ServerRestart,
        SlowStore,
        Stall,
        Suspend,
    )
    from simulation.scenario.library import find as load_scenario
    from simulation.scenario.network_traces import read_latencies, read_outages
    from simulation.scenario.paths import (
        AlternatingRenewal,
        BernoulliLoss,
        Dns,
        FadingLoss,
        GilbertElliottLoss,
        Middlebox,
        OnOffMarkov,
        Path,
        PeriodicAvailability,
        PortPool,
        RecordedAvailability,
        SharedBottleneck,
        Tcp,
        TcpKeepalive,
    )
    from simulation.scenario.population import FlashCrowd, PoissonArrivals, RecordedArrivals, Stay, Uniformly
    from simulation.scenario.presets import (
        FALLBACKS,
        HEARTBEATS,
        PRESETS,
        Preset,
        PresetFallback,
        PresetHeartbeat,
        PresetPolicy,
        register_fallback,
        register_heartbeat,
    )
    from simulation.scenario.presets import register as register_preset
    from simulation.scenario.scenario import (
        Capacity,
        ClientPart,
        Group,
        Region,
        Scenario,
        ServerPart,
        Shedding,
        client_part,
        parse_scenario,
    )
    from simulation.scenario.still_world import still_world
    from simulation.scenario.workload import IDLE, OnOff, Periodic, Poisson, RecordedTimes, Stream, Workload
    from simulation.studies.sweeping import interval, paired, sweep
    from simulation.trace.index import index_of
    from simulation.trace.publishes import publish_data
    from simulation.trace.trace import Trace
    from simulation.world import Result, World, run

__all__ = [
    "FALLBACKS",
    "HEARTBEATS",
    "IDLE",
    "PRESETS",
    "AfterEither",
    "AfterFailures",
    "AfterSeconds",
    "AfterSilence",
    "AlternatingRenewal",
    "BackgroundTab",
    "BernoulliLoss",
    "BlockUpgrade",
    "Capacity",
    "ClientConfig",
    "ClientPart",
    "ClockStep",
    "Constant",
    "Dns",
    "DnsFailure",
    "DrawnFaults",
    "Due",
    "Empirical",
    "EveryInterval",
    "Exponential",
    "FadingLoss",
    "Failover",
    "FlashCrowd",
    "Frames",
    "FreshnessPoints",
    "FullJitter",
    "GilbertElliottLoss",
    "Group",
    "HalfOpen",
    "LiveRecording",
    "LoadBalancerCut",
    "LogNormal",
    "Middlebox",
    "MissesInARow",
    "NetworkChange",
    "NeverFallBack",
    "NoPings",
    "OnOff",
    "OnOffMarkov",
    "Outage",
    "Pareto",
    "Path",
    "Pause",
    "Periodic",
    "PeriodicAvailability",
    "PhiAccrual",
    "PhiExponential",
    "Poisson",
    "PoissonArrivals",
    "PortPool",
    "Preset",
    "PresetFallback",
    "PresetHeartbeat",
    "PresetPolicy",
    "RandomStreams",
    "RecordedArrivals",
    "RecordedAvailability",
    "RecordedTimes",
    "Refuse",
    "Region",
    "Reset",
    "Result",
    "RollingDeploy",
    "Scenario",
    "ServerConfig",
    "ServerPart",
    "ServerRestart",
    "SharedBottleneck",
    "Shedding",
    "Signs",
    "SlowStore",
    "Stall",
    "Stay",
    "Stream",
    "Suspend",
    "Tcp",
    "TcpKeepalive",
    "Trace",
    "Uniform",
    "Uniformly",
    "Verdict",
    "Workload",
    "World",
    "check",
    "client_part",
    "index_of",
    "interval",
    "library",
    "load_scenario",
    "open_emulator",
    "paired",
    "parse_scenario",
    "publish_data",
    "read_latencies",
    "read_outages",
    "register_fallback",
    "register_heartbeat",
    "register_preset",
    "replay_recording",
    "run",
    "still_world",
    "sweep",
]

__getattr__, __dir__ = imported_on_use(
    globals(),
    {
        "AfterEither": "reference.protocol.policies.fallback:AfterEither",
        "AfterFailures": "reference.protocol.policies.fallback:AfterFailures",
        "AfterSeconds": "reference.protocol.policies.fallback:AfterSeconds",
        "AlternatingRenewal": "simulation.scenario.paths:AlternatingRenewal",
        "BackgroundTab": "simulation.scenario.faults:BackgroundTab",
        "BernoulliLoss": "simulation.scenario.paths:BernoulliLoss",
        "BlockUpgrade": "simulation.scenario.faults:BlockUpgrade",
        "Capacity": "simulation.scenario.scenario:Capacity",
        "ClientConfig": "reference.protocol.config:ClientConfig",
        "ClientPart": "simulation.scenario.scenario:ClientPart",
        "ClockStep": "simulation.scenario.faults:ClockStep",
        "Constant": "simulation.scenario.distributions:Constant",
        "Dns": "simulation.scenario.paths:Dns",
        "DrawnFaults": "simulation.scenario.drawn_faults:DrawnFaults",
        "DnsFailure": "simulation.scenario.faults:DnsFailure",
        "Empirical": "simulation.scenario.distributions:Empirical",
        "EveryInterval": "reference.protocol.policies.keepalive:EveryInterval",
        "Exponential": "simulation.scenario.distributions:Exponential",
        "FadingLoss": "simulation.scenario.paths:FadingLoss",
        "Failover": "simulation.scenario.faults:Failover",
        "FlashCrowd": "simulation.scenario.population:FlashCrowd",
        "Frames": "simulation.results.frames:Frames",
        "FullJitter": "reference.protocol.policies.reconnect:FullJitter",
        "GilbertElliottLoss": "simulation.scenario.paths:GilbertElliottLoss",
        "Group": "simulation.scenario.scenario:Group",
        "HalfOpen": "simulation.scenario.faults:HalfOpen",
        "IDLE": "simulation.scenario.workload:IDLE",
        "LiveRecording": "simulation.replay.live:LiveRecording",
        "LoadBalancerCut": "simulation.scenario.faults:LoadBalancerCut",
        "LogNormal": "simulation.scenario.distributions:LogNormal",
        "Middlebox": "simulation.scenario.paths:Middlebox",
        "NetworkChange": "simulation.scenario.faults:NetworkChange",
        "NeverFallBack": "reference.protocol.policies.fallback:NeverFallBack",
        "NoPings": "reference.protocol.policies.keepalive:NoPings",
        "OnOff": "simulation.scenario.workload:OnOff",
        "OnOffMarkov": "simulation.scenario.paths:OnOffMarkov",
        "Outage": "simulation.scenario.faults:Outage",
        "PRESETS": "simulation.scenario.presets:PRESETS",
        "Pareto": "simulation.scenario.distributions:Pareto",
        "Path": "simulation.scenario.paths:Path",
        "Pause": "simulation.scenario.faults:Pause",
        "Periodic": "simulation.scenario.workload:Periodic",
        "PeriodicAvailability": "simulation.scenario.paths:PeriodicAvailability",
        "Poisson": "simulation.scenario.workload:Poisson",
        "PoissonArrivals": "simulation.scenario.population:PoissonArrivals",
        "PortPool": "simulation.scenario.paths:PortPool",
        "Preset": "simulation.scenario.presets:Preset",
        "PresetPolicy": "simulation.scenario.presets:PresetPolicy",
        "RandomStreams": "simulation.random:RandomStreams",
        "RecordedArrivals": "simulation.scenario.population:RecordedArrivals",
        "RecordedAvailability": "simulation.scenario.paths:RecordedAvailability",
        "RecordedTimes": "simulation.scenario.workload:RecordedTimes",
        "Region": "simulation.scenario.scenario:Region",
        "Refuse": "simulation.scenario.faults:Refuse",
        "Reset": "simulation.scenario.faults:Reset",
        "Result": "simulation.world:Result",
        "RollingDeploy": "simulation.scenario.faults:RollingDeploy",
        "Scenario": "simulation.scenario.scenario:Scenario",
        "ServerConfig": "reference.protocol.config:ServerConfig",
        "ServerPart": "simulation.scenario.scenario:ServerPart",
        "ServerRestart": "simulation.scenario.faults:ServerRestart",
        "SharedBottleneck": "simulation.scenario.paths:SharedBottleneck",
        "Shedding": "simulation.scenario.scenario:Shedding",
        "SlowStore": "simulation.scenario.faults:SlowStore",
        "Stall": "simulation.scenario.faults:Stall",
        "Stay": "simulation.scenario.population:Stay",
        "Stream": "simulation.scenario.workload:Stream",
        "Suspend": "simulation.scenario.faults:Suspend",
        "Tcp": "simulation.scenario.paths:Tcp",
        "TcpKeepalive": "simulation.scenario.paths:TcpKeepalive",
        "Trace": "simulation.trace.trace:Trace",
        "Uniform": "simulation.scenario.distributions:Uniform",
        "Uniformly": "simulation.scenario.population:Uniformly",
        "Verdict": "simulation.checks.verdicts:Verdict",
        "Workload": "simulation.scenario.workload:Workload",
        "World": "simulation.world:World",
        "check": "simulation.checks.checkers:check",
        "client_part": "simulation.scenario.scenario:client_part",
        "index_of": "simulation.trace.index:index_of",
        "interval": "simulation.studies.sweeping:interval",
        "library": "simulation.scenario.library",
        "load_scenario": "simulation.scenario.library:find",
        "open_emulator": "simulation.emulator:open_emulator",
        "paired": "simulation.studies.sweeping:paired",
        "parse_scenario": "simulation.scenario.scenario:parse_scenario",
        "publish_data": "simulation.trace.publishes:publish_data",
        "read_latencies": "simulation.scenario.network_traces:read_latencies",
        "read_outages": "simulation.scenario.network_traces:read_outages",
        "register_preset": "simulation.scenario.presets:register",
        "replay_recording": "simulation.replay.live:replay",
        "run": "simulation.world:run",
        "still_world": "simulation.scenario.still_world:still_world",
        "sweep": "simulation.studies.sweeping:sweep",
        "AfterSilence": "reference.protocol.policies.keepalive:AfterSilence",
        "Due": "reference.protocol.policies.keepalive:Due",
        "FALLBACKS": "simulation.scenario.presets:FALLBACKS",
        "FreshnessPoints": "reference.protocol.policies.keepalive:FreshnessPoints",
        "HEARTBEATS": "simulation.scenario.presets:HEARTBEATS",
        "MissesInARow": "reference.protocol.policies.keepalive:MissesInARow",
        "PhiAccrual": "reference.protocol.policies.keepalive:PhiAccrual",
        "PhiExponential": "reference.protocol.policies.keepalive:PhiExponential",
        "PresetFallback": "simulation.scenario.presets:PresetFallback",
        "PresetHeartbeat": "simulation.scenario.presets:PresetHeartbeat",
        "Signs": "reference.protocol.policies.keepalive:Signs",
        "register_fallback": "simulation.scenario.presets:register_fallback",
        "register_heartbeat": "simulation.scenario.presets:register_heartbeat",
    },
)
