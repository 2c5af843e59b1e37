// SPDX-License-Identifier: Apache-2.0

package promote

import (
	"errors"
	"fmt"

	"highwater/mysqlcheck/gtid"
)

// Reason says in one word why an operation was refused or failed. It is a log
// key, a metric label and a heading in the docs.
type Reason string

// Reasons.
const (
	// ReasonPromised: the server is sealed for a later term.
	ReasonPromised Reason = "promised"
	// ReasonNotSealed: the receiver is connected, so the old primary may still
	// be acknowledged.
	ReasonNotSealed Reason = "not_sealed"
	// ReasonIncomplete: transactions are missing here and there is no peer to
	// fetch them from.
	ReasonIncomplete Reason = "incomplete"
	// ReasonFetch: the missing transactions did not come from the peer.
	ReasonFetch Reason = "fetch_failed"
	// ReasonApplier: the applier stopped with an error.
	ReasonApplier Reason = "applier_error"
	// ReasonTimeout: the deadline came first.
	ReasonTimeout Reason = "timeout"
	// ReasonInterrupted: another operation came first, such as a demotion.
	ReasonInterrupted Reason = "interrupted"
	// ReasonVeto: a before hook exited non-zero.
	ReasonVeto Reason = "hook_veto"
	// ReasonCommand: the command that replaces the promotion failed.
	ReasonCommand Reason = "command_failed"
	// ReasonRight: the right to be primary was lost meanwhile.
	ReasonRight Reason = "right_lost"
	// ReasonReadOnly: the server still refuses writes, or a commit.
	ReasonReadOnly Reason = "still_read_only"
	// ReasonServer: the server answered with an error, or not at all.
	ReasonServer Reason = "server_error"
)

var (
	// ErrWritable says that a server which should become a replica accepts
	// writes.
	ErrWritable = errors.New("server is not read-only")
	// ErrNotDemoted says that a server did not become read-only in time and was
	// not killed either: it may still commit.
	ErrNotDemoted = errors.New("server did not become read-only")
	// ErrWaitingCommits says that commits wait for an acknowledgement on a server
	// that should become a replica. They could only be let through, which
	// commits what nobody acknowledged, or ended by SIGKILL.
	ErrWaitingCommits = errors.New("commits wait for a semi-sync acknowledgement")
	// ErrNotReplayable says that a saved file is a list of events.
	ErrNotReplayable = errors.New("cannot be replayed")
	// ErrCloneUnsupported says that this server cannot copy another one's data.
	ErrCloneUnsupported = errors.New("no CLONE on this server")

	errInterrupted = errors.New("interrupted by an operation that comes first")
)

// StepError is a promotion that failed. The server is read-only again unless
// Undo says otherwise.
type StepError struct {
	Step   StepName
	Reason Reason
	Err    error
	// Undo is what kept the promotion from being undone; nil if it was, or if
	// there was nothing to undo.
	Undo error
}

// Error names the step.
func (e *StepError) Error() string {
	if e.Undo != nil {
		return fmt.Sprintf("promote: %s: %v (and it could not be undone: %v)", e.Step, e.Err, e.Undo)
	}
	return fmt.Sprintf("promote: %s: %v", e.Step, e.Err)
}

// Unwrap returns what failed.
func (e *StepError) Unwrap() error { return e.Err }

// ErrPromised is returned for a term below the one that the server was sealed
// for.
type ErrPromised struct {
	Promised, Term uint64
}

// Error names both terms.
func (e ErrPromised) Error() string {
	return fmt.Sprintf("server is sealed for term %d: refused for term %d", e.Promised, e.Term)
}

// ErrErrant is returned for a server that has transactions its source has not.
type ErrErrant struct {
	Set gtid.Set
}

// Error names the transactions.
func (e ErrErrant) Error() string {
	return fmt.Sprintf("server has %d transactions that its source has not: %s", e.Set.Count(), e.Set)
}

// ErrPurged is returned for a server that lacks transactions its source can no
// longer send.
type ErrPurged struct {
	Set gtid.Set
}

// Error names the transactions.
func (e ErrPurged) Error() string {
	return fmt.Sprintf("source has purged %d transactions that the server lacks: %s", e.Set.Count(), e.Set)
}

// ErrApplier is returned when the applier stopped by itself.
type ErrApplier struct {
	Number uint16 // of the server's error
	Text   string
}

// Error quotes the server.
func (e ErrApplier) Error() string {
	return fmt.Sprintf("applier stopped with error %d: %s", e.Number, e.Text)
}

// ErrReceiver is returned when the receiver cannot get at its source.
type ErrReceiver struct {
	Number uint16 // of the server's error
	Text   string
}

// Error quotes the server.
func (e ErrReceiver) Error() string {
	return fmt.Sprintf("receiver reports error %d: %s", e.Number, e.Text)
}
