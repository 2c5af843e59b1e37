// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"highwater/election"
	"highwater/election/quorum"
	"highwater/supervisor/keeper"
)

// Mutation is one rule that the shell around the Machine does not keep, to prove that an
// invariant notices.
type Mutation uint8

// The rules.
const (
	NoMutation       Mutation = iota
	NoLeaseWait               // writes open before the old lease has surely ended
	NoKernelLease             // an address has no lifetime
	NoRelease                 // giving up does not take the VIP off
	NoDemote                  // giving up leaves the server writable
	NoStall                   // the loop does not notice that it slept
	NoHealthDoor              // every server counts as eligible
	StaleVerdicts             // a look counts as of when it arrived
	DeafSeals                 // hosts that hear the primary do not stop a candidate
	HastyGather               // a candidate waits for nobody's answer
	NoFetch                   // the winner does not fetch what it lacks
	ForgottenPromise          // a restarted process does not know its promise
	EarlyClaim                // the VIP comes before the promotion
	// Of the glue between the Machine and the quorum.
	NoEstablish   // writes open in a term that the record does not know
	KeptRight     // a primary renews without asking for the right
	EarlyHandOver // the right is passed on before the VIP is off
	UsedRight     // the right is passed on as if nobody had ever used it
	// Of package quorum.
	NoPromise
	NoStartPromise
	AnyLease
	LeaseFromAnswer
	FollowerLease
	KeepRight
	SendUnstored
	// Of lossless durability.
	NoSeal          // a sealed host's receiver goes on
	NoCompleteness  // whoever is most advanced of those heard may promote
	RestartedHeard  // a member of S that has restarted counts as heard
	ExecutedBarrier // a barrier is what the server has executed, not what its binary log has
	KillWithoutLock // an account is not locked, its dump thread is killed
	NoLocks         // writes open with nobody's account locked
	Sigterm         // a server that does not obey is ended in good order
	ResetTerm       // a primary that regains the right begins with S empty, and raises k without a cut
	GrowLate        // each of the four changes of S and k in another order
	ShrinkEarly
	RaiseEarly
	LowerLate
	SpareAll // what cannot be fetched is left behind, whoever may have acknowledged it
	mutations
)

var mutationNames = [...]string{
	"none", "no lease wait", "no kernel lease", "no release", "no demote", "no stall", "no health door",
	"stale verdicts", "deaf seals", "hasty gather", "no fetch", "forgotten promise", "early claim",
	"no establish", "kept right", "early hand-over", "used right",
	"no promise", "no start promise", "any lease", "lease from answer", "follower lease", "keep right",
	"send unstored",
	"no seal", "no completeness", "restarted heard", "executed barrier", "kill without lock", "no locks",
	"sigterm", "reset term", "grow late", "shrink early", "raise early", "lower late", "spare all",
}

// String returns the mutation's name.
func (m Mutation) String() string { return mutationNames[m] }

// core returns the rules of package quorum that are switched off.
func (m Mutation) core() quorum.Mutations {
	return quorum.Mutations{
		NoPromise:       m == NoPromise,
		NoStartPromise:  m == NoStartPromise,
		AnyLease:        m == AnyLease,
		LeaseFromAnswer: m == LeaseFromAnswer,
		FollowerLease:   m == FollowerLease,
		KeepRight:       m == KeepRight,
		SendUnstored:    m == SendUnstored,
	}
}

// keeper returns the rules of package keeper, and of the changes of S and k, that are switched off.
func (m Mutation) keeper() keeper.Mutations {
	return keeper.Mutations{
		AckBeforeEntry: m == GrowLate,
		IgnorePromise:  m == NoSeal,
		SettledView:    m == RaiseEarly,
		HopefulView:    m == LowerLate,
		DurabilityMutations: election.DurabilityMutations{
			GrowLate:    m == GrowLate,
			ShrinkEarly: m == ShrinkEarly,
			RaiseEarly:  m == RaiseEarly,
			LowerLate:   m == LowerLate,
			NoCut:       m == ResetTerm,
		},
	}
}

// keptRight is an authority that says to a primary what it wants to hear.
type keptRight struct {
	election.Authority
	s *supervisor
}

func (k keptRight) Right(now election.Instant, router election.RouterState) election.Right {
	if k.s.machine != nil && k.s.machine.Status().Role == election.RolePrimary {
		return election.Right{Held: true}
	}
	return k.Authority.Right(now, router)
}

// mutated returns what the Machine is given for its authority.
func (s *supervisor) mutated(a election.Authority) election.Authority {
	if s.w.cfg.Mutation == KeptRight {
		return keptRight{Authority: a, s: s}
	}
	return a
}

// firstPeer names a host that is not this one.
func (s *supervisor) firstPeer() string {
	for _, h := range s.w.hosts {
		if h != s.host {
			return h.name
		}
	}
	return ""
}
