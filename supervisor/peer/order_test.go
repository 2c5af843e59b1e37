// SPDX-License-Identifier: Apache-2.0

package peer

import (
	"errors"
	"fmt"
	"testing"
)

func TestOrder(t *testing.T) {
	type msg struct {
		kind        string
		incarnation string
		seq         uint64
		farewell    uint64
		stale       bool
	}
	for name, msgs := range map[string][]msg{
		"in order": {
			{kindStatus, "a", 1, 0, false},
			{kindStatus, "a", 2, 0, false},
		},
		"a retry is equal": {
			{kindSeal, "a", 4, 0, false},
			{kindSeal, "a", 4, 0, false},
		},
		"a late status": {
			{kindStatus, "a", 5, 0, false},
			{kindStatus, "a", 4, 0, true},
		},
		"kinds travel apart": {
			{kindStatus, "a", 5, 0, false},
			{kindSeal, "a", 4, 0, false},
			{kindStand, "a", 3, 0, false},
		},
		"a new incarnation starts anew": {
			{kindStatus, "a", 900, 0, false},
			{kindStatus, "b", 1, 0, false},
		},
		"the former incarnation is over": {
			{kindStatus, "a", 900, 0, false},
			{kindSeal, "b", 1, 0, false},
			{kindStatus, "a", 901, 0, true},
			{kindFarewell, "a", 901, 3, true},
		},
		"a farewell": {
			{kindStatus, "a", 7, 0, false},
			{kindFarewell, "a", 7, 3, false},
			{kindStatus, "a", 8, 3, false},
		},
		"a farewell overtaken by the status that says the same": {
			{kindStatus, "a", 8, 3, false},
			{kindFarewell, "a", 7, 3, false},
		},
		"a farewell taken back before it came": {
			{kindStatus, "a", 7, 0, false},
			{kindStatus, "a", 9, 0, false},
			{kindFarewell, "a", 8, 3, true},
		},
		"a farewell of another term than the later status": {
			{kindStatus, "a", 9, 4, false},
			{kindFarewell, "a", 8, 3, true},
		},
	} {
		t.Run(name, func(t *testing.T) {
			var o order
			for i, m := range msgs {
				err := o.check(m.kind, Stamp{Incarnation: m.incarnation, Seq: m.seq}, m.farewell)
				if (err != nil) != m.stale {
					t.Errorf("message %d: %v", i+1, err)
				}
				if err != nil && ReasonOf(err) != ReasonStale {
					t.Errorf("message %d: reason %s", i+1, ReasonOf(err))
				}
			}
		})
	}
}

func TestOrderForgetsOldIncarnations(t *testing.T) {
	var o order
	for i := range 10 * retiredKept {
		if err := o.check(kindStatus, Stamp{Incarnation: fmt.Sprint(i)}, 0); err != nil {
			t.Fatal(err)
		}
	}
	if len(o.retired) != retiredKept {
		t.Errorf("remembers %d", len(o.retired))
	}
}

// What the server refuses after the handshake: messages in a wrong name, of a wrong cluster, or late.
func TestMessagesAreRefused(t *testing.T) {
	for name, tc := range map[string]struct {
		want   Reason
		change func(*ClientConfig)
		send   func(*Client) error
	}{
		"seal for another candidate": {
			want: ReasonWrongNode,
			send: func(c *Client) error { _, err := c.Seal(t.Context(), SealRequest{Candidate: "db3"}); return err },
		},
		"farewell of another": {
			want: ReasonWrongNode,
			send: func(c *Client) error { _, err := c.Farewell(t.Context(), FarewellRequest{From: "db3"}); return err },
		},
		"stand in the server's own name": {
			want: ReasonWrongNode,
			send: func(c *Client) error { _, err := c.Stand(t.Context(), StandRequest{From: "db1"}); return err },
		},
		"another cluster, same certificate": {
			want:   ReasonWrongCluster,
			change: func(cfg *ClientConfig) { cfg.Cluster = "billing" },
			send:   func(c *Client) error { _, err := c.Seal(t.Context(), SealRequest{Candidate: "db2"}); return err },
		},
		"late seal": {
			want: ReasonStale,
			send: func(c *Client) error {
				_, first := c.Seal(t.Context(), SealRequest{Candidate: "db2", Stamp: Stamp{Seq: 2}})
				_, err := c.Seal(t.Context(), SealRequest{Candidate: "db2", Stamp: Stamp{Seq: 1}})
				return errors.Join(first, err)
			},
		},
		"unknown kind": {
			want: ReasonNotFound,
			send: func(c *Client) error { return c.send(t.Context(), "drop", ping{}, &pong{}) },
		},
		"unknown field": {
			want: ReasonBadMessage,
			send: func(c *Client) error {
				return c.send(t.Context(), kindStand, map[string]any{"from": "db2", "colour": 1}, &StandReply{})
			},
		},
		"no incarnation": {
			want: ReasonBadMessage,
			send: func(c *Client) error {
				return c.send(t.Context(), kindStand, map[string]any{"from": "db2"}, &StandReply{})
			},
		},
		"negative age": {
			want: ReasonBadMessage,
			send: func(c *Client) error {
				return c.send(t.Context(), kindStatus, NodeStatus{
					Cluster: testCluster, Node: "db2", Stamp: Stamp{Incarnation: "x"}, PrimaryHeardAge: -1,
				}, &NodeStatus{})
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			h := &fakeHandler{}
			s := startServer(t, h)
			cfg := clientConfig(t, s)
			if tc.change != nil {
				tc.change(&cfg)
			}
			c, err := NewClient(cfg)
			if err != nil {
				t.Fatal(err)
			}
			defer c.urgent.close()
			err = tc.send(c)
			var own *Error
			if !errors.As(err, &own) || !own.Remote || own.Reason != tc.want {
				t.Errorf("error = %v", err)
			}
			if s.Stats().Refused[tc.want] != 1 || c.Stats().Errors[tc.want] != 1 {
				t.Errorf("server counted %v, client %v", s.Stats().Refused, c.Stats().Errors)
			}
		})
	}
}
