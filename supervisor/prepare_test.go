// SPDX-License-Identifier: Apache-2.0

package supervisor

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"highwater/configs"
	"highwater/promote"
	"highwater/supervisor/keeper"
	"highwater/supervisor/peer"
)

// What was never acknowledged is fetched if that works, and else the promotion goes on without it,
// long before its own time is up.
func TestPrepareSparing(t *testing.T) {
	damaged, gone, deposed := errors.New("event is damaged"), errors.New("server is gone"), errors.New("deposed")
	hang := func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
	for _, tt := range []struct {
		name         string
		fetch        func(context.Context) error
		drains       []error // of each preparation without a fetch
		right        error   // after the fetch
		want         []string
		forgone, err error
		took         time.Duration
	}{
		{"it comes", func(context.Context) error { return nil }, []error{nil}, nil, []string{"drain", "fetch"}, nil, nil, 0},
		{"it fails", func(context.Context) error { return damaged }, []error{nil, nil}, nil, []string{"drain", "fetch", "drain"}, damaged, nil, 0},
		{"it hangs", hang, []error{nil, nil}, nil, []string{"drain", "fetch", "drain"}, context.DeadlineExceeded, nil, spareFetch},
		{"nothing without the drain", nil, []error{gone}, nil, []string{"drain"}, nil, gone, 0},
		{"not sealed afterwards", func(context.Context) error { return damaged }, []error{nil, gone}, nil, []string{"drain", "fetch", "drain"}, damaged, gone, 0},
		{"the right is gone meanwhile", func(context.Context) error { return deposed }, []error{nil}, deposed, []string{"drain", "fetch"}, deposed, deposed, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
				defer cancel()
				var did []string
				prepare := func(ctx context.Context, in promote.PromoteInput) (promote.Result, error) {
					if in.Fetch != nil {
						did = append(did, "fetch")
						return promote.Result{}, tt.fetch(ctx)
					}
					did = append(did, "drain")
					err := tt.drains[0]
					tt.drains = tt.drains[1:]
					return promote.Result{}, err
				}
				without := promote.PromoteInput{Term: 5, Check: func() error { return tt.right }}
				with := without
				with.Fetch = &promote.Source{Node: "db1"}
				start := time.Now()
				forgone, err := prepareSparing(ctx, with, without, prepare)
				if !errors.Is(forgone, tt.forgone) || !errors.Is(err, tt.err) {
					t.Errorf("forgone for %v, error %v; want %v, %v", forgone, err, tt.forgone, tt.err)
				}
				if took := time.Since(start); took != tt.took || !slices.Equal(did, tt.want) {
					t.Errorf("%v in %v, want %v in %v", did, took, tt.want, tt.took)
				}
			})
		})
	}
}

// A fetch that was given up is not begun again by the promotion that follows, and another term's is.
func TestForgoneFetch(t *testing.T) {
	nodes := []configs.Node{{Name: "db1"}, {Name: "db2"}}
	n := &Node{config: &configs.Config{}, cluster: newCluster(nodes, &nodes[0], 3306), keeper: &keeper.Keeper{}}
	missing := mustParse(t, "A:9")
	n.missing.Store(&missing)
	n.cluster.take(peer.NodeStatus{Node: "db2", ServerStartID: "db2/1", ServerUUID: otherUUID, Executed: mustParse(t, "A:1-9")}, boottime())
	n.forgone.Store(5)
	for term, want := range map[uint64]bool{5: false, 6: true} {
		in := promote.PromoteInput{Term: term}
		if err := n.fetch(&in, "db2"); err != nil {
			t.Fatal(err)
		}
		if fetches := in.Fetch != nil; fetches != want || in.Received.IsEmpty() == want {
			t.Errorf("term %d: fetches %t until it holds %s", term, fetches, in.Received)
		}
	}
}
