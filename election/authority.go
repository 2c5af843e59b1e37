// SPDX-License-Identifier: Apache-2.0

package election

// Authority answers door 3: the right to be primary in a new term. It sees every event
// before the doors do. Its implementations are pure.
type Authority interface {
	// Step takes in an event. The actions it returns are carried out before the doors'.
	Step(now Instant, ev Event) []Action
	// Deadline returns the next instant at which a Tick matters to it, 0 for none.
	Deadline() Instant
	// Right reports whether this node, Active on the wire or not, may be primary at now. A
	// lease is renewed only under a right that is held.
	Right(now Instant, router RouterState) Right
	// Exclusive reports whether a right that is held excludes every other holder, as a
	// quorum's does: then it is asked for, has to be made known before writes open, and
	// neither adverts nor silence alone give or take it.
	Exclusive() bool
	// Silent reports whether the authority itself hears nobody who has the right. It is
	// silence (door 1) whatever is heard on the wire.
	Silent() bool
	// Heard returns when the authority itself last heard a node that had the right and has been
	// silent since; 0 if it did not. That is a sign of life which no advert can forge.
	Heard(node string) Instant
	// Holder returns the newest term that was made known, and its primary; 0 if there is none.
	Holder() (term uint64, primary string)
}

// Right is an Authority's answer. When it is not held, Code says why.
type Right struct {
	Held bool
	Code Code
}

// vrrp is the authority of `election.authority: vrrp`: the election is VRRP's alone, so
// whoever is Active on a link that is up has the right. It knows nothing of partitions:
// docs/design.md §4 says what that costs.
type vrrp struct {
	linkUp bool
}

// NewVRRP returns the authority that trusts VRRP alone.
func NewVRRP() Authority { return &vrrp{} }

func (a *vrrp) Step(_ Instant, ev Event) []Action {
	switch e := ev.(type) {
	case Start:
		a.linkUp = e.LinkUp
	case LinkChanged:
		a.linkUp = e.Up
	}
	return nil
}

func (a *vrrp) Deadline() Instant { return 0 }

func (a *vrrp) Right(_ Instant, router RouterState) Right {
	switch {
	case !a.linkUp:
		return Right{Code: CodeLinkDown}
	case router != Active:
		return Right{Code: CodeOutranked}
	default:
		return Right{Held: true}
	}
}

func (a *vrrp) Exclusive() bool          { return false }
func (a *vrrp) Silent() bool             { return false }
func (a *vrrp) Heard(string) Instant     { return 0 }
func (a *vrrp) Holder() (uint64, string) { return 0, "" }

// quorum is the authority of `election.authority: quorum`: a majority of the voters says who
// may be primary. Package quorum decides that; here is what it said last.
type quorum struct {
	linkUp bool
	right  RightChanged
	term   uint64
	holder string
}

// NewQuorum returns the authority that goes by [RightChanged] and [RecordChanged].
func NewQuorum() Authority { return &quorum{} }

func (a *quorum) Step(_ Instant, ev Event) []Action {
	switch e := ev.(type) {
	case Start:
		a.linkUp = e.LinkUp
	case LinkChanged:
		a.linkUp = e.Up
	case RightChanged:
		a.right = e
	case RecordChanged:
		a.term, a.holder = e.Term, e.Primary
	}
	return nil
}

func (a *quorum) Deadline() Instant { return 0 }

func (a *quorum) Right(now Instant, _ RouterState) Right {
	switch {
	case !a.linkUp:
		return Right{Code: CodeLinkDown}
	case !a.right.Held, now >= a.right.Until:
		return Right{Code: CodeNoRight}
	default:
		return Right{Held: true}
	}
}

func (a *quorum) Exclusive() bool          { return true }
func (a *quorum) Silent() bool             { return a.right.Silent }
func (a *quorum) Holder() (uint64, string) { return a.term, a.holder }

func (a *quorum) Heard(node string) Instant {
	if node == "" || node != a.right.Before {
		return 0
	}
	return a.right.Heard
}
