// SPDX-License-Identifier: Apache-2.0

package keeper

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"testing"
	"time"

	"highwater/election"
	"highwater/promote"
	"highwater/supervisor/peer"
)

// runs is a host and its server, of which only what a [Keeper] notes of its runs is looked at.
type runs struct {
	Host
	Server

	role   election.Role
	record election.ClusterRecord
	seen   string // run that the last look has found
	lives  string // run that answers, "" if none does

	led      map[string]uint64 // noted of each run
	silenced map[string]bool   // may answer at once, by what a replica does
}

func (*runs) Now() election.Instant { return election.Instant(time.Hour) }

func (*runs) Within(ctx context.Context, _ time.Duration) (context.Context, context.CancelFunc) {
	return context.WithCancel(ctx)
}

func (r *runs) Status() election.Status        { return election.Status{Role: r.role} }
func (r *runs) Record() election.ClusterRecord { return r.record }
func (r *runs) Sample() Sample                 { return Sample{Start: r.seen} }
func (*runs) Rebuilding() bool                 { return false }
func (*runs) Leader() string                   { return "" }
func (*runs) Peer(string) (Peer, bool)         { return Peer{NodeStatus: &peer.NodeStatus{}}, false }
func (*runs) Publish()                         {}
func (*runs) Look()                            {}

func (*runs) Relaxed() (promote.Relaxed, error) { return promote.Relaxed{}, nil }

func (r *runs) Durability(context.Context) (promote.Durability, error) {
	if r.lives == "" {
		return promote.Durability{}, errors.New("connection refused")
	}
	return promote.Durability{StartID: r.lives}, nil
}

func (r *runs) NoteRun(start string, led uint64) error {
	r.led[start] = led
	return nil
}

func (r *runs) Silence(context.Context) error {
	if r.lives == "" {
		return errors.New("connection refused")
	}
	r.silenced[r.lives] = true
	return nil
}

// A run counts as primary to its end unless it was found to live on as a replica, whatever the last
// look has found; and as a replica only what is noted as one may be touched.
func TestNoteReplica(t *testing.T) {
	for _, tt := range []struct {
		name        string
		seen, lives string
		led         map[string]uint64
		silenced    string
	}{
		{name: "a fence has killed it, and nobody has looked", seen: "a", led: map[string]uint64{"a": 5}},
		{name: "it is back, and nobody has looked", seen: "a", lives: "b", led: map[string]uint64{"a": 5, "b": 0}, silenced: "b"},
		{name: "it is not there", led: map[string]uint64{"a": 5}},
		{name: "it is back", seen: "b", lives: "b", led: map[string]uint64{"a": 5, "b": 0}, silenced: "b"},
		{name: "it lives on", seen: "a", lives: "a", led: map[string]uint64{"a": 0}, silenced: "a"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := &runs{
				role: election.RoleReplica, seen: tt.seen, lives: tt.lives, led: map[string]uint64{}, silenced: map[string]bool{},
				record: election.ClusterRecord{Term: 5, Since: 5, Primary: "db1"},
			}
			k, err := New(Config{Node: "db1", Log: slog.New(slog.NewTextHandler(io.Discard, nil))}, r, r)
			if err != nil {
				t.Fatal(err)
			}
			k.note("a", 5)
			for range 2 {
				k.turn(t.Context())
			}
			for _, start := range []string{"a", "b"} {
				if led, noted := r.led[start]; led != tt.led[start] || noted != (start == "a" || start == tt.lives) {
					t.Errorf("of run %s term %d is noted (%v), want %d", start, led, noted, tt.led[start])
				}
				if r.silenced[start] != (start == tt.silenced) {
					t.Errorf("run %s was silenced: %v", start, r.silenced[start])
				}
			}
		})
	}
}
