// SPDX-License-Identifier: Apache-2.0

package voter

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"go.etcd.io/raft/v3/raftpb"
	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/proto"

	"highwater/election"
	"highwater/election/quorum"
	"highwater/supervisor/raftlog"
)

// newDir is where the log of a recovered cluster is made, before it takes the place of the old one.
const newDir = "raft.new"

// Recovery is a cluster that may be begun anew on this host, whose supervisor is stopped.
type Recovery struct {
	dir    string
	quorum quorum.Config
	disk   *raftlog.Log

	Known  quorum.Known
	Record election.ClusterRecord // when all of the log counts
	Next   election.ClusterRecord // with which the new cluster begins
}

// Examine reads what this node knows of its cluster. It changes nothing, and refuses where the log cannot vouch for what it holds, or where
// this node had no vote. The caller holds the lock of the state directory, and closes the Recovery.
func Examine(dir string, c quorum.Config) (r *Recovery, err error) {
	if _, err := os.Stat(filepath.Join(dir, logDir)); errors.Is(err, fs.ErrNotExist) {
		return nil, refuse(ReasonNoCluster, c.Node, "there is no "+filepath.Join(dir, logDir))
	}
	if i := slices.IndexFunc(c.Members, func(m quorum.Member) bool { return m.Name == c.Node }); i >= 0 && c.Members[i].Witness {
		return nil, refuse(ReasonNoServer, c.Node, "")
	}
	disk, restored, err := raftlog.Open(filepath.Join(dir, logDir), raftlog.Identity{Cluster: c.Cluster, Node: c.Node})
	if err != nil {
		return nil, fmt.Errorf("open the quorum's log: %w", err)
	}
	r = &Recovery{dir: dir, quorum: c, disk: disk}
	if err := r.recall(restored); err != nil {
		return nil, errors.Join(err, disk.Close())
	}
	return r, nil
}

func (r *Recovery) recall(restored raftlog.Restored) error {
	node := r.quorum.Node
	ended, err := readEnd(r.dir)
	if err != nil {
		return err
	}
	kept, err := fromDisk(restored)
	if err != nil {
		return refuse(ReasonLogDamaged, node, err.Error())
	}
	seen, ok, err := quorum.Peek(kept)
	switch {
	case err != nil:
		return refuse(ReasonLogDamaged, node, err.Error())
	case ended.Log == restored.ID:
		return refuse(ended.Reason, node, "as "+ended.By+" said")
	case !ok:
		return refuse(ReasonNoCluster, node, "its log was never of one")
	}
	if _, member := seen.Member(node); !member {
		return refuse(ReasonRemoved, node, "")
	}
	c := r.quorum
	c.Members, c.Log = seen.Members, restored.ID
	if r.Known, err = quorum.Recall(c, kept); err != nil {
		return refuse(ReasonLogDamaged, node, err.Error())
	}
	self, member := r.Known.Member(node)
	switch {
	case !member:
		return refuse(ReasonRemoved, node, "")
	case !slices.Contains(r.Known.Voters, self.ID):
		return refuse(ReasonLearner, node, "it had not caught up, and knows less than the others")
	}
	if len(r.Known.Data) > 0 {
		r.Record, err = election.DecodeClusterRecord(r.Known.Data)
	} else {
		var members []election.ClusterMember
		for _, m := range r.Known.Members {
			members = append(members, election.ClusterMember{Name: m.Name, ID: m.ID, Witness: m.Witness})
		}
		r.Record, err = election.NewClusterRecord(members...)
	}
	if err == nil {
		r.Next, err = r.Record.Recover(node)
	}
	if err != nil {
		return refuse(ReasonLogDamaged, node, err.Error())
	}
	return nil
}

// Close gives the log back.
func (r *Recovery) Close() error { return r.disk.Close() }

// Begin puts the log of the new cluster in the place of the old one, in one step, and returns where that lies now. After it r is of no more use.
func (r *Recovery) Begin(at time.Time) (old string, err error) {
	fresh := filepath.Join(r.dir, newDir)
	if err := os.RemoveAll(fresh); err != nil { // of one that was cut short
		return "", err
	}
	if err := r.write(fresh); err != nil {
		return "", fmt.Errorf("write the new log: %w", err)
	}
	current := filepath.Join(r.dir, logDir)
	if err := unix.Renameat2(unix.AT_FDCWD, fresh, unix.AT_FDCWD, current, unix.RENAME_EXCHANGE); err != nil {
		return "", fmt.Errorf("exchange %s and %s: %w", fresh, current, err)
	}
	old = filepath.Join(r.dir, "raft.before-"+at.UTC().Format("20060102T150405Z"))
	if err := os.Rename(fresh, old); err != nil {
		old = fresh // the new cluster has begun all the same
	}
	return old, raftlog.SyncDir(r.dir)
}

func (r *Recovery) write(dir string) (err error) {
	data, err := r.Next.Encode()
	if err != nil {
		return err
	}
	disk, restored, err := raftlog.Open(dir, raftlog.Identity{Cluster: r.quorum.Cluster, Node: r.quorum.Node})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, disk.Close()) }()
	self, _ := r.Next.Member(r.quorum.Node)
	begun, err := quorum.Recover(r.quorum.Cluster, r.Known, quorum.Member{Name: self.Name, ID: self.ID, Log: restored.ID}, r.Next.Revision, data)
	if err != nil {
		return err
	}
	snapshot, state := new(raftpb.Snapshot), new(raftpb.HardState)
	if err := errors.Join(proto.Unmarshal(begun.Snapshot.Data, snapshot), proto.Unmarshal(begun.HardState, state)); err != nil {
		return err
	}
	return disk.Append(state, nil, snapshot)
}

// Tell says what is known here, what is not, and what may be lost. It is for whoever has to decide.
func (r *Recovery) Tell(lossless bool) []string {
	node, record := r.quorum.Node, r.Record
	var names []string
	for _, m := range record.Members {
		if m.Name != node {
			names = append(names, m.Name)
		}
	}
	lines := []string{fmt.Sprintf("%s knows the cluster record of revision %d: term %d, primary %s, %s.", node, record.Revision, record.Term, orNone(record.Primary), acknowledgers(record))}
	if behind := r.Known.Index - r.Known.Commit; behind > 0 {
		lines = append(lines, fmt.Sprintf("Of the log the last %d entries were perhaps never agreed on. They are taken for agreed on.", behind))
	}
	lines = append(
		lines,
		"What the others have agreed on after that is lost: if one of them has a higher revision, and its disk is there, recover on that one instead.",
		fmt.Sprintf("Members that are given up until they come back with nothing: %s.", orNone(strings.Join(names, ", "))),
	)
	if record.Term == 0 {
		return append(lines, "No primary was ever elected, so nothing was acknowledged through Highwater.")
	}
	if !lossless {
		return append(lines, "Possible loss: with durability best-effort, every acknowledged transaction that only those members hold.")
	}
	if lack := record.MayLack(node); len(lack) > 0 {
		lines = append(lines, fmt.Sprintf("Possible loss: acknowledged transactions that, by this record, only %s may hold.", strings.Join(lack, " or ")))
	} else {
		lines = append(lines, fmt.Sprintf("By this record %s lacks nothing that was acknowledged, if its server has lost nothing that it had.", node))
	}
	return append(
		lines,
		"Possible loss: everything that was acknowledged under a later record, which nobody here knows of.",
		"No loss is accepted by this: where the record says that somebody is missing, nobody is promoted until `highwater failover --accept-loss`.",
	)
}

func acknowledgers(r election.ClusterRecord) string {
	synced, acks, alone, whose := r.Synced, r.Acks, r.Alone, ""
	if k := r.Kept; k != nil {
		synced, acks, alone, whose = k.Synced, k.Acks, k.Alone, fmt.Sprintf(" (of term %d, which counts until a replica has entered S)", k.Term)
	}
	if alone {
		return "which acknowledges alone" + whose
	}
	var names []string
	for _, s := range synced {
		names = append(names, s.Node)
	}
	return fmt.Sprintf("S = {%s}, k = %d", strings.Join(names, ", "), acks) + whose
}

func orNone(text string) string {
	if text == "" {
		return "none"
	}
	return text
}
