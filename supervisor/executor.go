// SPDX-License-Identifier: Apache-2.0

package supervisor

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"highwater/election"
	"highwater/promote"
	"highwater/vip"
)

// addressTimeout bounds one change of the VIP: netlink answers in microseconds or not at all.
const addressTimeout = time.Second

// executor carries out actions in the order in which they were decided.
type executor struct {
	node *Node

	mu      sync.Mutex
	cancels map[election.Token]context.CancelCauseFunc // of effects that Cancel may end
	running sync.WaitGroup
}

// run returns when the loop has closed its actions and what they started has ended.
func (x *executor) run(ctx context.Context, decisions <-chan decision) {
	for d := range decisions {
		for _, a := range d.actions {
			if claim, ok := a.(election.Claim); ok && now().Sub(d.at) > x.node.config.VIP.Lease/3 {
				// The process slept between the decision and here; what follows may be its Release.
				x.node.post(ctx, election.ClaimEnded{Token: claim.Token, Err: "the claim was decided too long ago"})
				continue
			}
			x.execute(ctx, a)
		}
	}
	x.running.Wait()
}

func (x *executor) execute(ctx context.Context, a election.Action) {
	n := x.node
	switch a := a.(type) {
	case election.SendAdvert:
		n.adverts.send(a.Priority)
	case election.Claim:
		n.post(ctx, election.ClaimEnded{Token: a.Token, Err: text(n.claim(ctx))})
	case election.Renew:
		err := n.renew(ctx)
		n.post(ctx, election.RenewEnded{Token: a.Token, Lost: errors.Is(err, vip.ErrLost), Err: text(err)})
	case election.Release:
		n.post(ctx, election.ReleaseEnded{Token: a.Token, Err: text(n.release(ctx))})
	case election.Announce:
		n.addresses.Announce()
	case election.Publish:
		n.publish()
	case election.Save:
		n.saver.save(a.Saved)
	case election.Record:
		n.recorder.record(n.loop.view.Load().Status, a)
	case election.Refuse:
		n.requests.answer(a.Token, answer{code: a.Code})
	case election.Accept:
		n.requests.answer(a.Token, answer{accepted: true})
	case election.Stopped:
		n.requests.answer(a.Token, answer{accepted: true})
	case election.Cancel:
		x.cancel(a.Token)
	case election.Farewell:
		n.farewell(ctx, a)
	case election.AskToStand:
		x.start(ctx, 0, func(ctx context.Context) { n.askToStand(ctx, a) })
	case election.Seek:
		n.voter.Seek(ctx)
	case election.HandOver:
		n.voter.HandOver(ctx, a.To, a.Unused)
	case election.Establish:
		x.start(ctx, a.Token, func(ctx context.Context) { n.establish(ctx, a) })
	case election.Seal:
		x.start(ctx, 0, func(ctx context.Context) { n.seal(ctx, a) })
	case election.Gather:
		x.start(ctx, a.Token, func(ctx context.Context) { n.post(ctx, n.gather(ctx, a)) })
	case election.Promote:
		x.start(ctx, a.Token, func(ctx context.Context) { n.post(context.WithoutCancel(ctx), n.promote(ctx, a)) })
	case election.Finish:
		x.start(ctx, a.Token, func(ctx context.Context) {
			n.post(ctx, election.FinishEnded{Token: a.Token, Err: text(n.finish(ctx))})
		})
	case election.Demote:
		x.start(ctx, a.Token, func(ctx context.Context) { n.post(ctx, n.demote(ctx, a)) })
	case election.Follow:
		x.start(ctx, a.Token, func(ctx context.Context) { n.post(ctx, n.follow(ctx, a)) })
	default:
		panic(fmt.Sprintf("unknown action %T", a))
	}
}

// errCancelled is the cause of an effect that the Machine no longer wants.
var errCancelled = errors.New("the right to be primary is gone")

// start runs an effect beside the loop.
func (x *executor) start(ctx context.Context, token election.Token, effect func(context.Context)) {
	ctx, cancel := context.WithCancelCause(ctx)
	if token != 0 {
		x.mu.Lock()
		x.cancels[token] = cancel
		x.mu.Unlock()
	}
	x.running.Go(func() {
		defer cancel(nil)
		effect(ctx)
		if token != 0 {
			x.mu.Lock()
			delete(x.cancels, token)
			x.mu.Unlock()
		}
	})
}

func (x *executor) cancel(token election.Token) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if cancel := x.cancels[token]; cancel != nil {
		cancel(errCancelled)
	}
}

// text returns an error's text, "" for nil.
func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// promoteCode maps a failed promotion to the code that the Machine knows.
func promoteCode(err error) election.Code {
	var step *promote.StepError
	if errors.As(err, &step) {
		return election.Code(step.Reason)
	}
	return election.CodePromoteFail
}
