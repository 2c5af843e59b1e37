// SPDX-License-Identifier: Apache-2.0

package quorum

import "highwater/election"

// Input is something that happened. The concrete types are all in this file.
type Input interface{ input() }

// Tick is nothing but the passing of time.
type Tick struct{}

// Received is a message of another node's core.
type Received struct {
	From    string // as the channel authenticated it
	Message []byte
}

// Stored answers a [Store], and all before it.
type Stored struct {
	Token uint64
}

// Seek says that this node wants the right. It stays so until [Rest]. A witness wants nothing.
type Seek struct{}

// Rest says that this node does not, or no longer, want the right. A leader stays leader until
// it hands over.
type Rest struct{}

// HandOver passes the right on to a voter that has a server. Whoever says it states that VIP
// and lease are given up already, or that this node's server process is dead. From the moment
// the core accepts it the right is gone for the rest of the raft term. It is answered by
// [HandOverEnded], or by [LostLead].
type HandOver struct {
	To     string
	Unused election.Instant // since then nobody has done anything with the right; zero: not known
}

// Propose is a compare-and-set on the record: Data becomes version Version if the record's
// version is Version-1 when the entry is applied. It is answered by one [Decided].
type Propose struct {
	Version uint64
	Data    []byte
}

// Read asks the quorum what the record is. It is repeated until answered by [RecordRead].
type Read struct{}

// AddMember takes a node in: first as a learner, and as a voter once it has caught up. It is
// answered by a [MemberRefused], or by [MemberChanged] once for each of the two.
type AddMember struct {
	Member Member
}

// RemoveMember takes a node out. It is answered by a [MemberRefused] or a [MemberChanged].
type RemoveMember struct {
	Name string
}

func (Tick) input()         {}
func (Received) input()     {}
func (Stored) input()       {}
func (Seek) input()         {}
func (Rest) input()         {}
func (HandOver) input()     {}
func (Propose) input()      {}
func (Read) input()         {}
func (AddMember) input()    {}
func (RemoveMember) input() {}
