// SPDX-License-Identifier: Apache-2.0

package quorum

import (
	"strings"
	"testing"
	"time"

	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"
)

// stored returns what a node has stored after a while of work.
func stored(t *testing.T) Restored {
	n := newNetwork(t, Mutations{}, "a", "b", "c")
	n.elect("a")
	for v := uint64(1); v <= 3; v++ {
		n.step("a", Propose{Version: v, Data: []byte("x")})
		n.run(tick)
	}
	n.run(time.Second)
	return n.node("a").stored
}

// TestRestoreRefuses: storage that contradicts itself is an error, never a core that goes on.
func TestRestoreRefuses(t *testing.T) {
	good := stored(t)
	cfg := config("a", members("a", "b", "c"))
	if _, err := New(cfg, good, 1); err != nil {
		t.Fatal(err)
	}
	hardState := func(term, commit uint64) []byte {
		data, err := proto.Marshal(&raftpb.HardState{Term: &term, Commit: &commit})
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	for _, tt := range []struct {
		name   string
		change func(*Restored, *Config)
		want   string
	}{
		{"log without a snapshot", func(r *Restored, _ *Config) { r.Snapshot = nil }, "no snapshot"},
		{"a log, to a node that joins", func(r *Restored, c *Config) { r.Snapshot, c.Join = nil, true }, "no snapshot"},
		{"entry lost", func(r *Restored, _ *Config) { r.Entries = append(r.Entries[:1:1], r.Entries[2:]...) }, "entry"},
		{"tail lost", func(r *Restored, _ *Config) { r.Entries = r.Entries[:1] }, "before its commit"},
		{"entry damaged", func(r *Restored, _ *Config) { r.Entries = []Entry{{Index: 2, Data: []byte{0xff}}} }, "decode entry"},
		{"snapshot damaged", func(r *Restored, _ *Config) { r.Snapshot = &Snapshot{Index: 1, Data: []byte{0xff}} }, "decode snapshot"},
		{"snapshot empty", func(r *Restored, _ *Config) { r.Snapshot = &Snapshot{Index: 1} }, "decode snapshot"},
		{"hard state damaged", func(r *Restored, _ *Config) { r.HardState = []byte{0xff} }, "decode hard state"},
		{"commit beyond the log", func(r *Restored, _ *Config) { r.HardState = hardState(2, 99) }, "before its commit"},
		{"another node's", func(_ *Restored, c *Config) { c.Node = "b" }, ""},
		{"another ID", func(_ *Restored, c *Config) { c.Members = []Member{{Name: "a", ID: 7}} }, "this node is"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r, c := good, cfg
			tt.change(&r, &c)
			core, err := New(c, r, 1)
			if tt.want == "" {
				// Nothing tells who wrote it. It is a valid log of that cluster.
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), tt.want) || core != nil {
				t.Fatalf("error %v, want one with %q", err, tt.want)
			}
		})
	}
	// What need not have been durable may be missing.
	r := good
	r.HardState = hardState(2, 0)
	if _, err := New(cfg, r, 1); err != nil {
		t.Error(err)
	}
}

// TestConfig: what is refused.
func TestConfig(t *testing.T) {
	for _, tt := range []struct {
		change func(*Config)
		want   string
	}{
		{func(*Config) {}, ""},
		{func(c *Config) { c.Tick = 0 }, "tick"},
		{func(c *Config) { c.Tick = time.Hour }, "tick"},
		{func(c *Config) { c.ElectionTicks = 2 }, "election ticks"},
		{func(c *Config) { c.DriftPercent = 0 }, "drift"},
		{func(c *Config) { c.DriftPercent = 50 }, "drift"},
		{func(c *Config) { c.RightLease = time.Second }, "not covered"},
		{func(c *Config) { c.RightLease = -1 }, "not covered"},
		{func(c *Config) { c.CompactEvery = -1 }, "compaction"},
		{func(c *Config) { c.Node = "x" }, "not a member"},
		{func(c *Config) { c.Members = nil }, "not a member"},
		{func(c *Config) { c.Members = members("w1", "w2"); c.Node = "w1" }, "witness alone"},
		{func(c *Config) { c.Members = append(c.Members, c.Members[0]) }, "two members"},
		{func(c *Config) { c.Members[1].ID = 0 }, "reserved"},
		{func(c *Config) { c.Members[1].ID = ^uint64(0) }, "reserved"},
		{func(c *Config) { c.Members[1].Name = "" }, "empty"},
	} {
		c := config("a", members("a", "b", "w"))
		tt.change(&c)
		err := c.Validate()
		if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("%+v: %v, want %q", c, err, tt.want)
		}
		if _, nerr := New(c, Restored{}, 1); (nerr == nil) != (err == nil) {
			t.Errorf("%+v: New says %v", c, nerr)
		}
	}
}
