// SPDX-License-Identifier: Apache-2.0

package quorum

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"
)

// Known is what was stored says of a cluster, when every entry of the log counts.
type Known struct {
	Origin  uint64
	Before  []uint64
	Members []Member // by ID
	Voters  []uint64
	Removed []uint64
	Version uint64 // of the record
	Data    []byte // the record; nil: there was none yet
	Term    uint64 // raft's, the highest seen
	Index   uint64 // of the last entry
	Commit  uint64 // up to here the node knew that a majority has them
}

// Member returns the member of that name.
func (k *Known) Member(name string) (Member, bool) {
	i := slices.IndexFunc(k.Members, func(m Member) bool { return m.Name == name })
	if i < 0 {
		return Member{}, false
	}
	return k.Members[i], true
}

var errNothingStored = errors.New("nothing was stored: this node was never told of a cluster")

// Peek returns what the snapshot that was stored says of the members, without the entries behind
// it: a process needs their names and IDs before it can start. It is false where there is no snapshot.
func Peek(r Restored) (Known, bool, error) {
	if r.Snapshot == nil {
		return Known{}, false, nil
	}
	snap := new(raftpb.Snapshot)
	if err := proto.Unmarshal(r.Snapshot.Data, snap); err != nil {
		return Known{}, false, fmt.Errorf("decode snapshot: %w", err)
	}
	s, err := decodeState(snap)
	if err != nil {
		return Known{}, false, err
	}
	return Known{Origin: s.Origin, Before: s.Before, Members: s.Members, Removed: s.Removed}, true, nil
}

// Recall returns what was stored, as if all of the log were committed. That is what a cluster would
// take for true whose only voter left this node is: what was only proposed may have been committed
// by others, and have had its effect.
func Recall(cfg Config, r Restored) (Known, error) {
	if r.Snapshot == nil {
		return Known{}, errNothingStored
	}
	hs := new(raftpb.HardState)
	if err := proto.Unmarshal(r.HardState, hs); err != nil {
		return Known{}, fmt.Errorf("decode hard state: %w", err)
	}
	k := Known{Commit: max(hs.GetCommit(), r.Snapshot.Index)}
	last := r.Snapshot.Index
	if n := len(r.Entries); n > 0 {
		last = max(last, r.Entries[n-1].Index)
	}
	hs.Commit = &last
	r.HardState = marshal(hs)
	core, err := New(cfg, r, 1)
	if err != nil {
		return Known{}, err
	}
	for _, e := range core.Step(1, Tick{}).Events { // applies all of it
		if f, ok := e.(Failed); ok {
			return Known{}, f.Err
		}
	}
	if core.applied != last {
		return Known{}, fmt.Errorf("%d of %d entries make sense", core.applied, last)
	}
	k.Origin, k.Before, k.Members, k.Removed = core.state.Origin, core.state.Before, core.state.Members, core.state.Removed
	k.Version, k.Data = core.state.Version, core.state.Data
	k.Voters, k.Term, k.Index = core.conf.GetVoters(), core.term, last
	return k, nil
}

// termJump is by how much a new beginning raises raft's term. Messages of the old members are
// dropped for their origin; this is so that who reads both in a log is not misled.
const termJump = 1 << 20

// Recover returns what is to be stored so that the cluster of k begins anew with self as its only
// voter and data as version of its record. Its origin is another, so nobody who still votes in the
// old one is believed, nor believes; and its entries come after all of the old ones.
func Recover(cluster string, k Known, self Member, version uint64, data []byte) (Restored, error) {
	switch {
	case self.Witness:
		return Restored{}, errors.New("a witness alone is no cluster")
	case self.Log == "":
		return Restored{}, errors.New("the new log has no name")
	case version <= k.Version:
		return Restored{}, fmt.Errorf("version %d of the record does not follow %d", version, k.Version)
	case k.Term > maxOrdinal-termJump || k.Index >= maxOrdinal:
		return Restored{}, fmt.Errorf("term %d or index %d is out of range", k.Term, k.Index)
	}
	if err := checkMember(self); err != nil {
		return Restored{}, err
	}
	s := state{
		Origin: origin(cluster, []Member{self}), Members: []Member{self},
		Before: append(slices.Clone(k.Before), k.Origin), Version: version, Data: data,
	}
	if s.Origin == k.Origin || slices.Contains(s.Before, s.Origin) {
		return Restored{}, errors.New("the new cluster could not be told from the old one")
	}
	text, err := json.Marshal(&s)
	if err != nil {
		return Restored{}, fmt.Errorf("encode state: %w", err)
	}
	index, term := k.Index+1, k.Term+termJump
	snap := &raftpb.Snapshot{Data: text, Metadata: &raftpb.SnapshotMetadata{
		ConfState: &raftpb.ConfState{Voters: []uint64{self.ID}, AutoLeave: new(false)}, Index: &index, Term: &term,
	}}
	hs := &raftpb.HardState{Term: &term, Vote: new(uint64(0)), Commit: &index}
	return Restored{HardState: marshal(hs), Snapshot: &Snapshot{Index: index, Data: marshal(snap)}}, nil
}

// Replaces reports whether a cluster that replaces those of before has taken the place of origin.
func Replaces(before []uint64, origin uint64) bool {
	return origin != 0 && slices.Contains(before, origin)
}
