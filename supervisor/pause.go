// SPDX-License-Identifier: Apache-2.0

package supervisor

import (
	"context"
	"errors"
	"fmt"
	"os/user"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"highwater/election"
	"highwater/supervisor/control"
	"highwater/supervisor/peer"
)

// Orders on the cluster record, and their arguments.
const (
	orderPause  = "pause"
	orderResume = "resume"

	argFor = "for" // a duration; absent: until somebody resumes
	argWhy = "why"
	argBy  = "by" // between supervisors: who gave the order, and where
)

// Bounds of an order on the cluster record. A change of its leader takes a second or two.
const (
	recordTimeout = 8 * time.Second
	recordRetry   = 200 * time.Millisecond
	maxWhy        = 200 // characters
)

const pauseNeedsQuorum = "%s refused: with authority vrrp each host decides for itself, and there is no record that all of them would keep to; " +
	"`highwater stop` on the replicas keeps them from taking over"

// orderOnRecord has the node that leads the quorum pause or resume failovers: this one or, through the peer channel,
// another. While nobody leads it is tried again.
func (n *Node) orderOnRecord(ctx context.Context, c control.Command) (code int, text string) {
	if n.voter == nil {
		return control.CodeRefused, fmt.Sprintf(pauseNeedsQuorum, c.Name)
	}
	ctx, cancel := context.WithTimeout(ctx, recordTimeout)
	defer cancel()
	for {
		code, text := n.tryOnRecord(ctx, c)
		if code != control.CodeUnreachable {
			return code, text
		}
		if sleep(ctx, recordRetry); ctx.Err() != nil {
			return code, text
		}
	}
}

// tryOnRecord gives the order to whoever leads now.
func (n *Node) tryOnRecord(ctx context.Context, c control.Command) (code int, text string) {
	leader := n.voter.State().Leader
	switch leader {
	case "":
		return n.tryElsewhere(ctx, c)
	case n.self.Name:
		return n.recordHere(ctx, c)
	}
	reply, err := n.forward(ctx, leader, peer.Command{Name: c.Name, Args: c.Args})
	if err != nil {
		return control.CodeUnreachable, fmt.Sprintf("%s: ask %s: %v", c.Name, leader, err)
	}
	return reply.Code, reply.Text
}

// forward has another node carry out an order.
func (n *Node) forward(ctx context.Context, node string, c peer.Command) (peer.CommandReply, error) {
	if client := n.client(node); client != nil {
		return client.Command(ctx, c)
	}
	return peer.CommandReply{}, errors.New("it is not in this host's configuration")
}

// pauseRecord carries out an order on the cluster record, where this node leads. The pause is counted by its clock.
func (n *Node) pauseRecord(ctx context.Context, c control.Command) (code int, text string) {
	if n.voter == nil {
		return control.CodeRefused, fmt.Sprintf(pauseNeedsQuorum, c.Name)
	}
	var next func(election.ClusterRecord) (election.ClusterRecord, error)
	done := "resumed: failovers happen by themselves again"
	switch c.Name {
	case orderPause:
		pause, err := newPause(c.Args, time.Now())
		if err != nil {
			return control.CodeUsage, "pause: " + err.Error()
		}
		next = func(r election.ClusterRecord) (election.ClusterRecord, error) { return r.Pause(pause) }
		done = "paused " + until(pause) + ": no failover that nobody orders; `highwater resume` ends it"
	case orderResume:
		next = election.ClusterRecord.Resume
	}
	err := n.changeRecord(ctx, next)
	var refusal *election.Refusal
	switch {
	case err == nil:
		return control.CodeDone, done
	case !errors.As(err, &refusal):
		return control.CodeUnreachable, fmt.Sprintf("%s: %v", c.Name, err)
	case c.Name == orderResume && refusal.Code == election.RefusedUnchanged:
		return control.CodeDone, "failovers were not paused"
	default:
		return control.CodeRefused, fmt.Sprintf("%s: %v", c.Name, err)
	}
}

// changeRecord proposes a change of the cluster record and waits for its fate.
func (n *Node) changeRecord(ctx context.Context, next func(election.ClusterRecord) (election.ClusterRecord, error)) error {
	ended := make(chan error, 1)
	n.voter.Change(ctx, next, func(_ context.Context, err error) { ended <- err })
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// newPause makes a pause of an order's arguments.
func newPause(args map[string]string, at time.Time) (election.Pause, error) {
	p := election.Pause{By: args[argBy], Since: at.UnixMilli(), Why: args[argWhy]}
	if utf8.RuneCountInString(p.Why) > maxWhy || strings.ContainsFunc(p.Why, unicode.IsControl) {
		return p, fmt.Errorf("the reason is longer than %d characters or not one line", maxWhy)
	}
	text, bounded := args[argFor]
	if !bounded {
		return p, nil
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < time.Second {
		return p, fmt.Errorf("%q is no duration of a second or more, such as 2h", text)
	}
	p.Until = at.Add(d).UnixMilli()
	return p, nil
}

// until says how long a pause lasts.
func until(p election.Pause) string {
	if p.Until == 0 {
		return "until somebody resumes"
	}
	return "until " + time.UnixMilli(p.Until).UTC().Format(time.RFC3339)
}

// givenBy names who gives an order here.
func (n *Node) givenBy(uid uint32) string {
	id := strconv.FormatUint(uint64(uid), 10)
	if u, err := user.LookupId(id); err == nil {
		return u.Username + "@" + n.self.Name
	}
	return "uid " + id + "@" + n.self.Name
}

// pauseLook is how often a pause is looked at.
const pauseLook = time.Second

// watchPause logs each change of the pause and, where this node leads, ends one that is over.
func (n *Node) watchPause(ctx context.Context) {
	var known election.Pause
	for ctx.Err() == nil {
		var now election.Pause
		p := n.voter.Record().Paused
		if p != nil {
			now = *p
		}
		if now != known {
			known = now
			if p == nil {
				n.log.Info("failovers.resumed")
			} else {
				n.log.Warn("failovers.paused", "by", p.By, "until", until(now), "why", p.Why)
			}
		}
		if p.Over(time.Now().UnixMilli()) && n.voter.State().Leader == n.self.Name {
			if err := n.endPause(ctx); err != nil {
				n.log.Warn("failovers.not_resumed", "error", err)
			}
		}
		sleep(ctx, pauseLook)
	}
}

// endPause commits the end of a pause that is over.
func (n *Node) endPause(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, recordTimeout)
	defer cancel()
	return n.changeRecord(ctx, func(r election.ClusterRecord) (election.ClusterRecord, error) {
		if !r.Paused.Over(time.Now().UnixMilli()) { // somebody was quicker, or prolonged it
			return r, nil
		}
		return r.Resume()
	})
}
