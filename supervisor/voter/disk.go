// SPDX-License-Identifier: Apache-2.0

package voter

import (
	"context"
	"fmt"

	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"highwater/election/quorum"
	"highwater/supervisor/raftlog"
)

// write writes what the core asks for, in order, and says how far it is.
func (v *Voter) write(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case s := <-v.stores:
			if err := v.store(s); err != nil {
				return fmt.Errorf("write the quorum's log: %w", err)
			}
			select {
			case <-v.stored: // an older answer that nobody has read says less
			default:
			}
			v.stored <- s.Token
		}
	}
}

// store makes one change durable. Nothing but a commit index is not worth a write: raft learns that again.
func (v *Voter) store(s quorum.Store) error {
	if !s.Sync && s.Snapshot == nil && len(s.Entries) == 0 {
		return nil
	}
	var state *raftpb.HardState
	if s.HardState != nil {
		state = &raftpb.HardState{}
		if err := proto.Unmarshal(s.HardState, state); err != nil {
			return fmt.Errorf("decode state: %w", err)
		}
	}
	entries := make([]*raftpb.Entry, len(s.Entries))
	for i, e := range s.Entries {
		entries[i] = &raftpb.Entry{}
		if err := proto.Unmarshal(e.Data, entries[i]); err != nil {
			return fmt.Errorf("decode entry %d: %w", e.Index, err)
		}
	}
	var snapshot *raftpb.Snapshot
	if s.Snapshot != nil {
		snapshot = &raftpb.Snapshot{}
		if err := proto.Unmarshal(s.Snapshot.Data, snapshot); err != nil {
			return fmt.Errorf("decode snapshot %d: %w", s.Snapshot.Index, err)
		}
	}
	return v.disk.Append(state, entries, snapshot)
}

// fromDisk is what the core restores from.
func fromDisk(r raftlog.Restored) (quorum.Restored, error) {
	var kept quorum.Restored
	var err error
	if r.HardState != nil {
		if kept.HardState, err = proto.Marshal(r.HardState); err != nil {
			return kept, fmt.Errorf("encode state: %w", err)
		}
	}
	if r.Snapshot != nil {
		data, err := proto.Marshal(r.Snapshot)
		if err != nil {
			return kept, fmt.Errorf("encode snapshot: %w", err)
		}
		kept.Snapshot = &quorum.Snapshot{Index: r.Snapshot.GetMetadata().GetIndex(), Data: data}
	}
	for _, e := range r.Entries {
		data, err := proto.Marshal(e)
		if err != nil {
			return kept, fmt.Errorf("encode entry: %w", err)
		}
		kept.Entries = append(kept.Entries, quorum.Entry{Index: e.GetIndex(), Data: data})
	}
	return kept, nil
}
