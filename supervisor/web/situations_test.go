// SPDX-License-Identifier: Apache-2.0

package web

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var rewrite = flag.Bool("rewrite", false, "rewrite the golden files; read the diff before committing it")

// golden compares got with a file of testdata.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *rewrite {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s differs; see with: go test -rewrite && git diff\ngot:\n%s", path, got)
	}
}

// healthy is a cluster of three with nothing wrong, seen from db2.
func healthy() Status {
	behind := uint64(0)
	at := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	replica := Host{
		Up: true, Role: "replica", VRRPState: "Backup", Term: 7, ServerVersion: "MySQL 8.4.3", Health: healthAlive, Eligible: true,
		Source: "10.0.0.11", Replicating: true, LagSeconds: Seconds(0), Behind: &behind,
	}
	db1, db2, db3 := replica, replica, replica
	db1 = Host{
		Name: "db1", Address: "10.0.0.11", Up: true, HeardSeconds: Seconds(120 * time.Millisecond), Role: "primary", VRRPState: "Active", Priority: 120,
		Term: 7, VIPHeld: true, LeaseSeconds: 2.4, ServerVersion: "MySQL 8.4.3", Health: healthAlive, Eligible: true, Writable: true,
	}
	db2.Name, db2.Address, db2.Priority, db2.Self, db2.HeardSeconds = "db2", "10.0.0.12", 110, true, Seconds(0)
	db3.Name, db3.Address, db3.Priority, db3.HeardSeconds = "db3", "10.0.0.13", 100, Seconds(200*time.Millisecond)
	db3.LagSeconds, db3.Queue = Seconds(1300*time.Millisecond), 42
	return Status{
		Cluster: "orders", Node: "db2", Version: "0.1.0", Started: time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC), At: at, Authority: "vrrp", Durability: "best-effort",
		VIP: []string{"10.0.0.100/32"}, Term: 7, Primary: "db1", Hosts: []Host{db1, db2, db3},
		LastFailover: &Failover{
			ID: "f-7", Kind: "failover", Cause: "server_dead", Result: "done", Term: 7, From: "db3", To: "db1",
			Started: at.Add(-26 * time.Hour), TookSeconds: 1.84, Door: "claim",
			Doors: []DoorTime{
				{"silence", 1.02}, {"health", 0}, {"authority", 0.003}, {"completeness", 0.12}, {"promotion", 0.65}, {"claim", 0.04},
			},
		},
	}
}

// situations are named cluster states; each has a golden table and, where it says so, its document.
var situations = []struct {
	name  string
	level Level
	make  func(*Status)
}{
	{"healthy", LevelOK, func(*Status) {}},
	{"primary server dead", LevelCritical, func(s *Status) {
		p := s.Host("db1")
		p.Role, p.Health, p.Writable, p.Reasons = "lingering", healthDead, false, []string{"server_dead"}
	}},
	{"demotion stuck", LevelWarning, func(s *Status) {
		h := s.Host("db3")
		h.Role, h.VRRPState, h.Writable, h.Eligible, h.Reasons = "demoting", "Initialize", true, false, []string{"commit_hung"}
	}},
	{"failover running", LevelCritical, func(s *Status) {
		p, self := s.Host("db1"), s.Host("db2")
		p.Up, p.HeardSeconds, p.Role, p.VRRPState = false, Seconds(1900*time.Millisecond), "primary", "Active"
		self.Role, self.VRRPState, self.Term, s.Term, s.Primary = "promoting", "Active", 8, 8, "db2"
		s.Running = &Failover{
			ID: "f-8", Kind: "failover", Cause: "primary_silent", Term: 8, From: "db1", To: "db2", Started: s.At.Add(-900 * time.Millisecond),
			TookSeconds: 0.9, Door: "promotion", Doors: []DoorTime{{"silence", 0.61}, {"completeness", 0.12}},
		}
	}},
	{"switchover running", LevelOK, func(s *Status) {
		s.Running = &Failover{ID: "f-8", Kind: "switchover", Cause: "operator", Term: 8, From: "db1", To: "db2", Started: s.At, Door: "completeness"}
	}},
	{"host missing", LevelWarning, func(s *Status) {
		h := s.Host("db3")
		h.Up, h.HeardSeconds = false, Seconds(754*time.Second)
	}},
	{"host never heard", LevelWarning, func(s *Status) {
		s.Hosts[2] = Host{Name: "db3", Address: "10.0.0.13", Priority: 100}
	}},
	{"alone", LevelWarning, func(s *Status) {
		for _, name := range []string{"db1", "db3"} {
			h := s.Host(name)
			h.Up, h.HeardSeconds = false, Seconds(12*time.Second)
		}
		self := s.Host("db2")
		self.Role, self.VRRPState, self.VIPHeld, self.LeaseSeconds, self.Writable = "primary", "Active", true, 2.1, true
		s.Primary, s.Term = "db2", 8
		s.Notices = []string{"authority vrrp: two hosts that do not hear each other can both be primary; only durability lossless loses nothing then."}
	}},
	{"errant held", LevelWarning, func(s *Status) {
		h := s.Host("db3")
		h.Role, h.Held, h.Eligible, h.Reasons = "held", true, false, []string{"errant_transactions"}
		h.Errant, h.ErrantCount = "3e11fa47-71ca-11e1-9e33-c80aa9429562:41-43", 3
		h.HeldWhy = "rejoin_shut_down: binlog.000007 ends with a Stop event"
	}},
	{"errant rebuilding", LevelWarning, func(s *Status) {
		h := s.Host("db3")
		h.Role, h.Held, h.Eligible, h.Reasons = "held", true, false, []string{"errant_transactions"}
		h.Errant, h.ErrantCount = "3e11fa47-71ca-11e1-9e33-c80aa9429562:41", 1
		h.HeldWhy = "rebuilding: FILE COPY In Progress, 120 of 400 MiB"
	}},
	{"first start refused", LevelCritical, func(s *Status) {
		s.Term, s.Primary, s.LastFailover = 0, "", nil
		for i := range s.Hosts {
			h := &s.Hosts[i]
			h.Role, h.VRRPState, h.Term, h.VIPHeld, h.Eligible, h.Writable = "replica", "Backup", 0, false, true, false
		}
		s.Hosts[0].Writable, s.Hosts[0].Refusal = true, "several_writable"
		s.Hosts[1].Writable, s.Hosts[1].Refusal = true, "several_writable"
		s.Hosts[2].Refusal = "no_writable_server"
	}},
	{"waiting for hosts after a power cut", LevelCritical, func(s *Status) {
		s.Primary = ""
		s.Hosts[0].Up, s.Hosts[0].HeardSeconds = false, nil
		s.Hosts[0].Role, s.Hosts[0].VIPHeld = "", false
		s.Hosts[1].Refusal, s.Hosts[2].Refusal = "waiting_for_hosts", "waiting_for_hosts"
	}},
	{"primary not heard", LevelCritical, func(s *Status) {
		h := s.Host("db1")
		h.Up, h.HeardSeconds = false, Seconds(700*time.Millisecond)
		s.Host("db2").Refusal = "primary_heard_by_others"
	}},
	{"nobody can take over", LevelWarning, func(s *Status) {
		s.Hosts[1].Eligible, s.Hosts[1].Reasons = false, []string{"delayed"}
		s.Hosts[2].NoFailover = true
	}},
	{"two primaries", LevelCritical, func(s *Status) {
		h := s.Host("db3")
		h.Role, h.Term, h.VIPHeld, h.LeaseSeconds, h.VRRPState = "primary", 8, true, 1.2, "Active"
	}},
	{"primary hung", LevelCritical, func(s *Status) {
		p := s.Host("db1")
		p.Health, p.Reasons = "unknown", []string{"server_silent"}
	}},
	{"primary read-only", LevelCritical, func(s *Status) {
		p := s.Host("db1")
		p.Writable, p.Reasons = false, []string{"primary_read_only"}
	}},
	{"primary without the VIP", LevelCritical, func(s *Status) {
		p := s.Host("db1")
		p.VIPHeld, p.LeaseSeconds = false, 0
	}},
	{"primary with a warning", LevelWarning, func(s *Status) { s.Host("db1").Warnings = []string{"durability_relaxed"} }},
	{"paused", LevelWarning, func(s *Status) { pause(s) }},
	{"paused without a primary", LevelCritical, func(s *Status) {
		pause(s)
		s.Pause.Until, s.Pause.Why = nil, ""
		p, self := s.Host("db1"), s.Host("db2")
		p.Role, p.VRRPState, p.VIPHeld, p.LeaseSeconds, p.Health, p.Writable, p.Eligible = "replica", "Backup", false, 0, healthDead, false, false
		self.Refusal = "paused"
	}},
	{"moved often", LevelOK, func(s *Status) {
		for i := range uint64(5) {
			m := Move{At: s.At.Add(time.Duration(i-5) * time.Hour), Term: 3 + i, From: "db1", To: "db2", Kind: "failover", Reason: "silence", Loss: i == 3}
			if i%2 == 1 {
				m.From, m.To = m.To, m.From
			}
			s.History = append(s.History, m)
		}
	}},
	{"commits wait", LevelCritical, func(s *Status) {
		s.Durability, s.Lossless = "lossless", &Lossless{Synced: []string{"db2", "db3"}, Acks: 1}
		s.Host("db1").Stalled = true
		for _, name := range s.Lossless.Synced {
			s.Host(name).Synced = true
		}
		h := s.Host("db3")
		h.Health, h.Eligible, h.Reasons = healthDead, false, []string{"server_dead"}
	}},
	{"incomplete", LevelCritical, func(s *Status) {
		h := s.Host("db1")
		h.Up, h.HeardSeconds = false, Seconds(9*time.Second)
		self := s.Host("db2")
		self.Refusal, self.RefusedFor = "incomplete", "too_few_heard: db1 is silent, db3 is silent; 1 more of S or the primary must be heard"
	}},
	{"pair with a witness", LevelOK, func(s *Status) {
		w := s.Host("db3")
		*w = Host{Name: "w1", Address: "10.0.0.20", Witness: true, Up: true, HeardSeconds: Seconds(0), Role: "replica", VRRPState: "Backup", Term: 7}
	}},
	{"hostile strings", LevelWarning, func(s *Status) {
		h := s.Host("db3")
		h.ServerVersion, h.Eligible, h.Reasons = "8.4\x1b[2J\n\u202etxt", false, []string{"a\tb<script>"}
	}},
}

// pause is an operator's, for two hours.
func pause(s *Status) {
	end := s.At.Add(90 * time.Minute)
	s.Paused, s.Pause = true, &Pause{By: "root@db3", Since: s.At.Add(-30 * time.Minute), Until: &end, Why: "new switch"}
}

func TestSituations(t *testing.T) {
	for _, tc := range situations {
		t.Run(tc.name, func(t *testing.T) {
			s := healthy()
			tc.make(&s)
			s.Judge()
			if s.Level != tc.level {
				t.Errorf("level = %s", s.Level)
			}
			if (s.Level == LevelOK && s.Running == nil) != (s.NextStep == "") {
				t.Errorf("level %s with next step %q", s.Level, s.NextStep)
			}
			var table bytes.Buffer
			if err := s.Table(&table, false); err != nil {
				t.Fatal(err)
			}
			if bytes.ContainsAny(table.Bytes(), "\x1b\t") {
				t.Error("control characters without color")
			}
			golden(t, strings.ReplaceAll(tc.name, " ", "_")+".txt", table.Bytes())
		})
	}
}

// Color changes how lines look, never what they say or how they are aligned.
func TestColor(t *testing.T) {
	sgr := strings.NewReplacer(sgrReset, "", sgrBold, "", sgrRed, "", sgrGreen, "", sgrYellow, "")
	for _, tc := range situations {
		s := healthy()
		tc.make(&s)
		s.Judge()
		var plain, colored bytes.Buffer
		if err := s.Table(&plain, false); err != nil {
			t.Fatal(err)
		}
		if err := s.Table(&colored, true); err != nil {
			t.Fatal(err)
		}
		if sgr.Replace(colored.String()) != plain.String() {
			t.Errorf("%s: color changes the text", tc.name)
		}
		if !strings.HasPrefix(colored.String(), s.Level.sgr()) {
			t.Errorf("%s: summary is not colored by level", tc.name)
		}
	}
}

func TestDocument(t *testing.T) {
	s := healthy()
	pause(&s)
	s.History = []Move{
		{At: s.At.Add(-28 * time.Hour), Term: 5, From: "db1", To: "db3", Kind: "failover", Reason: "silence", Loss: true},
		{At: s.At.Add(-26 * time.Hour), Term: 7, From: "db3", To: "db1", Kind: "switchover", Reason: "operator"},
	}
	s.Members = []Member{{Name: "db1", ID: 1, Votes: true}, {Name: "w1", ID: 2, Witness: true}}
	s.Judge()
	s.Host("db3").LagSeconds = nil
	text, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "status.json", append(text, '\n'))
	var back Status
	if err := json.Unmarshal(text, &back); err != nil {
		t.Fatal(err)
	}
	var first, second bytes.Buffer
	if err := s.Table(&first, false); err != nil {
		t.Fatal(err)
	}
	if err := back.Table(&second, false); err != nil {
		t.Fatal(err)
	}
	if first.String() != second.String() {
		t.Error("the document does not hold all that the table shows")
	}
}

// What `highwater history` and `highwater member list` print.
func TestRecordTables(t *testing.T) {
	s := healthy()
	for _, sit := range situations {
		if sit.name == "moved often" {
			sit.make(&s)
		}
	}
	s.History[0].Reason = "a\tb\x1b[2J"
	s.Members = []Member{{Name: "db1", ID: 1, Votes: true}, {Name: "db2", ID: 4_000_000_000}, {Name: "w1", ID: 3, Witness: true}}
	var b bytes.Buffer
	if err := s.HistoryTable(&b); err != nil {
		t.Fatal(err)
	}
	b.WriteString("\n")
	if err := s.MemberTable(&b); err != nil {
		t.Fatal(err)
	}
	golden(t, "record_tables.txt", b.Bytes())
}
