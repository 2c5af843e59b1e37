// SPDX-License-Identifier: Apache-2.0

package peer

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"highwater/mysqlcheck/gtid"
)

func fullStatus(t testing.TB) NodeStatus {
	return NodeStatus{
		Cluster: testCluster, Node: "db2", Version: "0.1.0", Stamp: Stamp{Incarnation: "i-1", Seq: 42}, Sent: 1e15,
		Role: "replica", VRRPState: "backup", Priority: 110, Term: 7, Primary: "db1", PromisedTerm: 7, Seeks: true,
		LeaseRemaining: 2 * time.Second, Farewell: 6, Successor: "db2", BackWithin: time.Second,
		Health: "alive", Eligible: true, Reasons: []string{"delayed"}, Held: []string{"0-1-7"}, NoFailover: true, Paused: true,
		ServerUUID: "3e11fa47-71ca-11e1-9e33-c80aa9429562", ServerVersion: "8.4.3", ServerStartID: "s", Replicas: 2,
		Executed: mustSet(t, "3e11fa47-71ca-11e1-9e33-c80aa9429562:1-5:7"), Received: mustSet(t, "0-1-100,1-2-50"),
		SourceHost: "10.0.0.11", SourceUUID: "u", Receiver: "running", Applier: "running", Lag: time.Second, LagKnown: true,
		Queue: 3, DrainETA: time.Minute, SourceEventAge: 1, SourceEventKnown: true, PrimaryHeardAge: 2, PrimaryHeardKnown: true,
		MySQLHost: "10.0.0.12", MySQLPort: 3306,
		Revision: 9, WordGiven: true, WordTerm: 7, WordRevision: 9, Admits: []string{"db3"}, Weak: []string{"boot_acker"}, Durable: true, Stalled: true,
	}
}

var equalSets = cmp.Comparer(func(a, b gtid.Set) bool { return a.Equal(b) })

func TestStatusRoundTrip(t *testing.T) {
	want := fullStatus(t)
	body, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	var got NodeStatus
	if err := decode(bytes.NewReader(body), Protocol, &got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got, equalSets); diff != "" {
		t.Error(diff)
	}
	if err := got.validate(); err != nil {
		t.Error(err)
	}
}

func TestDecode(t *testing.T) {
	for name, tc := range map[string]struct {
		text     string
		protocol int
		ok       bool
	}{
		"object":                            {`{"term":1}`, 1, true},
		"white space after":                 {`{"term":1}` + "\n ", 1, true},
		"unknown field":                     {`{"colour":1}`, Protocol, false},
		"unknown field of a later protocol": {`{"colour":1}`, Protocol + 1, true},
		"second value":                      {`{"term":1}{}`, 1, false},
		"garbage after":                     {`{"term":1}]`, 1, false},
		"empty":                             {``, 1, false},
		"wrong type":                        {`{"term":"1"}`, 1, false},
		"negative":                          {`{"term":-1}`, 1, false},
		"number too large":                  {`{"term":18446744073709551616}`, 1, false},
		"bad set":                           {`{"executed":"not a set"}`, 1, false},
	} {
		if err := decode(strings.NewReader(tc.text), tc.protocol, new(NodeStatus)); (err == nil) != tc.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, text := range map[string]string{
		"one long value":       `{"candidate":"` + strings.Repeat("x", MaxBody) + `"}`,
		"white space for ever": `{}` + strings.Repeat(" ", MaxBody),
		"deep":                 strings.Repeat("[", MaxBody+2),
	} {
		if err := decode(strings.NewReader(text), Protocol, new(SealRequest)); name != "deep" && !errors.Is(err, errTooLarge) || err == nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func fuzzDecode[T any](f *testing.F, seed T) {
	body, err := json.Marshal(seed)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(body)
	f.Add([]byte(`{}`))
	f.Add([]byte(`{"seq":1e3,"incarnation":null}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		var first, second T
		if decode(bytes.NewReader(text), Protocol, &first) != nil {
			return
		}
		body, err := json.Marshal(first)
		if err != nil {
			t.Fatalf("decoded, but does not encode: %v", err)
		}
		if err := decode(bytes.NewReader(body), Protocol, &second); err != nil {
			t.Fatalf("own encoding is refused: %v", err)
		}
		again, err := json.Marshal(second)
		if err != nil || !bytes.Equal(body, again) {
			t.Fatalf("not stable (%v):\n%s\n%s", err, body, again)
		}
	})
}

func FuzzNodeStatus(f *testing.F)  { fuzzDecode(f, fullStatus(f)) }
func FuzzSealRequest(f *testing.F) { fuzzDecode(f, SealRequest{Term: 1, Candidate: "db2"}) }
func FuzzSealReply(f *testing.F)   { fuzzDecode(f, SealReply{Accepted: true, Status: fullStatus(f)}) }
func FuzzStand(f *testing.F)       { fuzzDecode(f, StandRequest{Term: 1, From: "db2"}) }
func FuzzHold(f *testing.F) {
	fuzzDecode(f, HoldRequest{Point: mustSet(f, "3e11fa47-71ca-11e1-9e33-c80aa9429562:1-5:7")})
}

func FuzzFarewell(f *testing.F) {
	fuzzDecode(f, FarewellRequest{Term: 1, From: "db2", Successor: "db3"})
}

func FuzzCommand(f *testing.F) {
	fuzzDecode(f, Command{Name: "stop", Args: map[string]string{"to": "db3"}})
}
