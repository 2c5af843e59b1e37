// SPDX-License-Identifier: Apache-2.0

package raftlog

import (
	"errors"
	"fmt"
	"strings"
	"syscall"
)

// Reason says why a log was not opened or not appended to. The vocabulary is closed; values are reason codes of docs/design.md §2.
type Reason string

// Reasons.
const (
	ReasonCorrupt Reason = "raftlog_corrupt" // what is on the disk is not what was written
	ReasonForeign Reason = "raftlog_foreign" // it belongs to another cluster or node
	ReasonVersion Reason = "raftlog_version" // it has a format that this release does not know
	ReasonLost    Reason = "raftlog_lost"    // log and marker: one is missing, or they do not belong together
	ReasonFull    Reason = "raftlog_full"    // no space left, or quota exceeded
	ReasonLocked  Reason = "raftlog_locked"  // another process holds it
	ReasonIO      Reason = "raftlog_io"      // any other refusal of the operating system
	ReasonInvalid Reason = "raftlog_invalid" // Append was asked for what raft never does: a changed vote, a gap, a lost commit
)

const addAgain = "remove this member from the cluster, empty its raft directory, and add it again: a voter that forgets its votes may vote twice"

// advice is one sentence on what to do.
func (r Reason) advice() string {
	switch r {
	case ReasonCorrupt, ReasonLost:
		return addAgain
	case ReasonForeign:
		return "give this node its own state directory; if it was renamed, " + addAgain
	case ReasonVersion:
		return "start the release that wrote it; if there is none, " + addAgain
	case ReasonFull:
		return "free space there and start again: everything confirmed is still in the log"
	case ReasonLocked:
		return "stop the process that holds it"
	case ReasonIO:
		return "see to the disk and to the permissions, then start again: the log is verified then"
	case ReasonInvalid:
		return "report this defect; after a start the node goes on with what was confirmed"
	}
	panic("unknown reason " + string(r))
}

// Error is a refusal: why, where, and what to do.
type Error struct {
	Reason Reason
	Path   string // file or directory
	Err    error
}

func (e *Error) Error() string {
	return fmt.Sprintf("%s: %s: %v; %s", e.Reason, e.Path, e.Err, e.Reason.advice())
}

func (e *Error) Unwrap() error { return e.Err }

// ReasonOf classifies any error of this package.
func ReasonOf(err error) Reason {
	var own *Error
	switch {
	case errors.As(err, &own):
		return own.Reason
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return ReasonFull
	case err != nil && strings.Contains(err.Error(), syscall.ENOSPC.Error()): // bbolt formats some errors away
		return ReasonFull
	}
	return ReasonIO
}

// at says where an error of another package happened, and which reason it makes.
func at(path string, err error) error {
	var own *Error
	switch {
	case err == nil:
		return nil
	case errors.As(err, &own):
		return own
	}
	return &Error{Reason: ReasonOf(err), Path: path, Err: err}
}

func refuse(r Reason, path, format string, args ...any) *Error {
	return &Error{Reason: r, Path: path, Err: fmt.Errorf(format, args...)}
}
