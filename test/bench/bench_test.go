// SPDX-License-Identifier: Apache-2.0

package main

import (
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"highwater/configs"
	"highwater/test/lab"
)

func TestParse(t *testing.T) {
	o, err := parse([]string{"-runs", "2", "-faults", "unplug,rest", "-systems", "highwater"}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	if o.runs != 2 || !o.rest || len(o.faults) != 1 || o.faults[0].name != "unplug" || len(o.systems) != 1 {
		t.Errorf("got %+v", o)
	}
	if o, err = parse([]string{"-runs", "2", "-faults", "latency", "-systems", "keepalived,highwater-lossless"}, io.Discard); err != nil {
		t.Fatal(err)
	}
	if !o.latency || o.rest || len(o.faults) != 0 {
		t.Errorf("got %+v", o)
	}
	for _, args := range []string{
		"-runs 0", "-faults flood", "-systems mha", "-rest-for 1ms", "more",
		"-latency-for 1ms", "-faults latency -runs 1", "-faults latency -systems keepalived,highwater-eager",
	} {
		if _, err := parse(strings.Fields(args), io.Discard); err == nil {
			t.Errorf("%s: accepted", args)
		}
	}
}

// The systems take turns to begin, and none is tried where it cannot differ from another.
func TestSchedule(t *testing.T) {
	o, err := parse([]string{"-runs", "2", "-faults", "kill-server,unplug", "-systems", "keepalived,highwater,highwater-eager"}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, p := range schedule(o) {
		got = append(got, p.fault.name+" "+p.system.name)
	}
	want := []string{
		"kill-server keepalived", "kill-server highwater",
		"unplug keepalived", "unplug highwater", "unplug highwater-eager",
		"kill-server highwater", "kill-server keepalived",
		"unplug highwater", "unplug highwater-eager", "unplug keepalived",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// The names say what is measured.
func TestDurabilityOfSystems(t *testing.T) {
	lab.Require(t, "root", "mysql")
	for name, want := range map[string]string{"highwater-quorum": configs.BestEffort, "highwater-lossless": configs.Lossless} {
		o, err := parse([]string{"-systems", name, "-binary", "/bin/true"}, io.Discard)
		if err != nil {
			t.Fatal(err)
		}
		bed, err := o.systems[0].open(t.Context(), o, settings{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := bed.Close(); err != nil {
				t.Error(err)
			}
		})
		hw := bed.(highwater)
		c, err := configs.Load(hw.ConfigFile(hw.Hosts()[0]))
		if err != nil {
			t.Fatal(err)
		}
		if c.Durability.Mode != want || c.Authority() != configs.AuthorityQuorum || !*c.Fencing.KillServer {
			t.Errorf("%s: %+v, authority %s, kill_server %t", name, c.Durability, c.Authority(), *c.Fencing.KillServer)
		}
		if err := c.RunnableNow(); err != nil {
			t.Error(err)
		}
	}
}

func TestJudge(t *testing.T) {
	// db1 acknowledges every 10 ms until the fault at 100 ms and once more late; db2 begins at 350 ms.
	var acks []lab.Ack
	ack := func(server string, ms int) {
		at := time.Duration(ms) * time.Millisecond
		acks = append(acks, lab.Ack{Row: lab.Row{Seq: int64(len(acks))}, Server: server, Sent: at - time.Millisecond, Acked: at})
	}
	ack("db1", 0) // a gap of the machine's before the fault, longer than the outage
	for at := 1000; at <= 1100; at += 10 {
		ack("db1", at)
	}
	for at := 1350; at <= 1600; at += 10 {
		ack("db2", at)
	}
	ack("db1", 1375)
	var got trial
	got.judge(&lab.Record{Acks: acks, Ended: 1600 * time.Millisecond}, "db1", 1105*time.Millisecond)
	want := trial{From: "db1", To: "db2", Acked: 39, Turns: 3, Outage: 0.25, Overlap: 0.025}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestLook(t *testing.T) {
	none, reader, writer := hostState{}, hostState{carries: true}, hostState{carries: true, writable: true}
	sights := func(states ...[2]hostState) []sight {
		var list []sight
		for i, s := range states {
			list = append(list, sight{time.Duration(i) * time.Second, map[string]hostState{"db1": s[0], "db2": s[1]}})
		}
		return list
	}
	const fault, end = 500 * time.Millisecond, 10 * time.Second
	for _, test := range []struct {
		name   string
		sights []sight
		want   seen
	}{
		{
			"moves", sights([2]hostState{writer, none}, [2]hostState{none, none}, [2]hostState{none, writer}),
			seen{settled: 1500 * time.Millisecond},
		},
		{
			"stays", sights([2]hostState{writer, none}),
			seen{settled: -1},
		},
		{
			"two hosts, one of them read-only", sights([2]hostState{writer, none}, [2]hostState{reader, writer}, [2]hostState{none, writer}),
			seen{twoCarriers: time.Second, settled: 1500 * time.Millisecond},
		},
		{
			"two writers to the end", sights([2]hostState{writer, none}, [2]hostState{writer, writer}),
			seen{twoCarriers: 9 * time.Second, twoWriters: 9 * time.Second, settled: -1},
		},
		{
			"before the fault does not count", sights([2]hostState{writer, writer}, [2]hostState{none, writer}),
			seen{twoCarriers: 500 * time.Millisecond, twoWriters: 500 * time.Millisecond, settled: 500 * time.Millisecond},
		},
		{
			"goes back", sights([2]hostState{writer, none}, [2]hostState{none, writer}, [2]hostState{writer, none}),
			seen{settled: -1},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := look(test.sights, "db1", fault, end); got != test.want {
				t.Errorf("got %+v, want %+v", got, test.want)
			}
		})
	}
}

func TestQuantile(t *testing.T) {
	for q, want := range map[float64]float64{0: 1, 0.25: 1.75, 0.5: 2.5, 0.75: 3.25, 1: 4} {
		if got := quantile([]float64{1, 2, 3, 4}, q); got != want {
			t.Errorf("%v: got %v, want %v", q, got, want)
		}
	}
	if got := quantile([]float64{7}, 0.99); got != 7 {
		t.Errorf("of one value: got %v", got)
	}
}

func TestParseStat(t *testing.T) {
	u, err := parseStat("42 (a ) b) S 7 42 42 0 -1 4194304 1 2 3 4 10 20 30 40 20 0 1 0 99 1000 5 18446744073709551615 1 1")
	if err != nil {
		t.Fatal(err)
	}
	if want := (usage{parent: 7, cpu: time.Second, rss: 5 * int64(os.Getpagesize())}); u != want {
		t.Errorf("got %+v, want %+v", u, want)
	}
	for _, text := range []string{"", "42 (a) S 7", "42 (a) S 7 42 42 0 -1 4194304 1 2 3 4 x 20 30 40 20 0 1 0 99 1000 5"} {
		if _, err := parseStat(text); err == nil {
			t.Errorf("%q: accepted", text)
		}
	}
	self, err := usageOf(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	if self.parent != os.Getppid() || self.rss == 0 {
		t.Errorf("this process: got %+v", self)
	}
}

func TestVersionIn(t *testing.T) {
	for text, want := range map[string]string{
		"highwater v1.2.3-4-gabc\n":                        "v1.2.3-4-gabc",
		"highwater devel\n":                                "devel",
		"/opt/mysqld  Ver 9.7.4-2 for Linux on x86_64 (x)": "9.7.4-2",
		"Keepalived v2.2.7 (01/16,2022)\n\nCopyright(C)":   "v2.2.7",
		"": "",
	} {
		if got := versionIn(text); got != want {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
}

func TestReport(t *testing.T) {
	settled := 0.5
	r := report{
		Machine:  machine{Kernel: "6.1", Cores: 2},
		Versions: map[string]string{"mysqld": "9.7.4", "keepalived": "v2.2.7", "highwater": "v0.1"},
		Started:  time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Runs: 3,
		Trials: []trial{
			{Fault: "unplug", System: "keepalived", Load: 4, Ended: true, Outage: 3.25, Lost: 7, TwoCarriers: 1, TwoWriters: 0.5},
			{Fault: "unplug", System: "keepalived", Ended: true, Outage: 2.25, Settled: &settled},
			{Fault: "unplug", System: "keepalived", Error: "no lab"},
			{Fault: "unplug", System: "highwater", Ended: true, Outage: 0.3, Settled: &settled},
			{Fault: "unplug", System: "highwater", Ended: true, Outage: 0.1, Settled: &settled},
			{Fault: "unplug", System: "highwater", Outage: 30},
			{Fault: "kill-server", System: "highwater", Ended: true, Outage: 0.125, Settled: &settled},
		},
		Latency: []pair{
			{System: "highwater", Run: 1, WithFirst: true, Load: 5, With: half{Commits: 100, Median: 0.0011, P99: 0.0022}, Without: half{Commits: 101, Median: 0.001, P99: 0.002}},
			{System: "highwater", Run: 2, Disturbed: []string{"it moved"}, With: half{Commits: 100, Median: 0.0011, P99: 0.0021}, Without: half{Commits: 99, Median: 0.001, P99: 0.002}},
		},
		Rest: []cost{{System: "highwater", Role: "primary", CPU: 0.5, ServerCPU: 2, BareServerCPU: 1.5, RSS: 20 << 20, Connections: 3}},
	}
	want := `2026-01-02, 2 cores, Linux 6.1; MySQL 9.7.4, keepalived v2.2.7, Highwater v0.1; 3 runs of each, at a load average of 0.0 to 5.0.

Outage, median (quartiles; least to most):

| fault on the primary | keepalived 2.2.7 + promote script | Highwater |
| --- | --- | --- |
| server process killed | – | 0.12 s |
| host unplugged | 2.75 s (2.50 s to 3.00 s; 2.25 s to 3.25 s); no result in 1 of 3 | 0.20 s (0.15 s to 0.25 s; 0.10 s to 0.30 s); no end within 30 s in 1 of 3 |

Safety, the worst of all runs:

| fault on the primary | with | acknowledged rows lost | two servers acknowledged | VIP on two hosts | both writable | VIP at one other host for good |
| --- | --- | --- | --- | --- | --- | --- |
| server process killed | Highwater | 0 | never | never | never | after 0.50 s |
| host unplugged | keepalived 2.2.7 + promote script | up to 7, in 1 of 2 runs | never | up to 1.00 s, in 1 of 2 runs | up to 0.50 s, in 1 of 2 runs | after 0.50 s; never in 1 of 2 |
| host unplugged | Highwater | 0 | never | never | never | after 0.50 s (0.50 s to 0.50 s); never in 1 of 3 |

At rest, default intervals, no client:

| with | on | CPU with its scripts | RSS | connections to the server | the server's CPU | without the system |
| --- | --- | --- | --- | --- | --- | --- |
| Highwater | primary | 0.50 % | 20.0 MiB | 3 | 2.00 % | 1.50 % |

Commit latency with supervisors and without, the middle pair; ratio of all pairs (95 % interval):

| with | commits | pairs | disturbed | median without | with | ratio of medians | p99 without | with | ratio of p99s |
| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |
| Highwater | asynchronous replication | 2 | 1 | 1.000 ms | 1.100 ms | 1.100 (1.100 to 1.100) | 2.000 ms | 2.150 ms | 1.075 (0.800 to 1.444) |

Every pair:

| with | pair | first | median without | with | ratio | p99 without | with | ratio | commits without | with |
| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |
| Highwater | 1 | with | 1.000 ms | 1.100 ms | 1.100 | 2.000 ms | 2.200 ms | 1.100 | 101 | 100 |
| Highwater | 2 | without | 1.000 ms | 1.100 ms | 1.100 | 2.000 ms | 2.100 ms | 1.050 | 99 | 100 |
`
	if diff := cmp.Diff(want, r.markdown()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	var text strings.Builder
	if err := r.text(&text); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(text.String(), "server process killed  –") {
		t.Errorf("the text has no table:\n%s", &text)
	}
}

// What the figures are compared with: keepalived killed leaves the VIP where it was, and a peer takes it too.
func TestKeepalived(t *testing.T) {
	lab.Require(t, "root", "mysql", "keepalived")
	o, err := parse([]string{"-faults", "kill-supervisor", "-systems", "keepalived-tuned", "-logs", t.TempDir()}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	got := runTrial(t.Context(), o, schedule(o)[0])
	t.Log(got.line())
	if got.Error != "" {
		t.Fatal(got.Error)
	}
	if !got.Ended || got.From != "db1" || got.To == "db1" || got.Settled != nil || got.TwoCarriers < 1 || got.TwoWriters < 1 {
		t.Errorf("got %+v", got)
	}
}
