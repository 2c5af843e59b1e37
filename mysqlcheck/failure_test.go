// SPDX-License-Identifier: Apache-2.0

package mysqlcheck

import (
	"context"
	"crypto/tls"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"
)

func TestClassify(t *testing.T) {
	answer := func(n uint16, message string) error { return &mysql.MySQLError{Number: n, Message: message} }
	dial := func(err error) error {
		return &net.OpError{Op: "dial", Net: "unix", Err: os.NewSyscallError("connect", err)}
	}
	for _, tt := range []struct {
		err    error
		class  FailureClass
		reason Reason
	}{
		{nil, NoFailure, ""},
		{dial(syscall.ECONNREFUSED), Refused, ReasonServerDead},
		{dial(syscall.ENOENT), Refused, ReasonServerDead},
		{dial(syscall.EAGAIN), TimedOut, ReasonServerSilent},
		{dial(syscall.EACCES), Answered, ReasonAccessDenied},
		{dial(os.ErrDeadlineExceeded), TimedOut, ReasonServerSilent},
		{context.DeadlineExceeded, TimedOut, ReasonServerSilent},
		{context.Canceled, TimedOut, ReasonServerSilent},
		{errInFlight, TimedOut, ReasonServerSilent},
		{errNoAnswerYet, TimedOut, ReasonServerSilent},
		{mysql.ErrInvalidConn, Dropped, ReasonServerSilent},
		{io.ErrUnexpectedEOF, Dropped, ReasonServerSilent},
		{syscall.ECONNRESET, Dropped, ReasonServerSilent},
		{io.EOF, Dropped, ReasonServerSilent},
		{driver.ErrBadConn, Dropped, ReasonServerSilent},
		{dial(syscall.EMFILE), Dropped, ReasonServerSilent},
		{sql.ErrNoRows, Answered, ReasonProbeFailed},
		{errors.New("sql: Scan error on column index 0"), Answered, ReasonProbeFailed},
		{fmt.Errorf("%w: x", ErrUnsupported), Answered, ReasonVersionUnsupported},
		{mysql.ErrNoTLS, Answered, ReasonTLSFailed},
		{tls.AlertError(40), Answered, ReasonTLSFailed},
		{&tls.CertificateVerificationError{Err: errors.New("x")}, Answered, ReasonTLSFailed},
		{mysql.ErrCleartextPassword, Answered, ReasonAccessDenied},
		{answer(1030, "Got error 28 - 'No space left on device' from storage engine"), Answered, ReasonDiskFull},
		{answer(1030, "Got error 30 - 'Read-only file system' from storage engine"), Answered, ReasonDiskReadOnly},
		{answer(1030, "Got error 168 from storage engine"), Answered, ReasonProbeFailed},
		{answer(3, "Error writing file '/tmp/x' (OS errno 28 - No space left on device)"), Answered, ReasonDiskFull},
		{answer(1021, "Disk full"), Answered, ReasonDiskFull},
		{answer(1105, "Unknown error"), Answered, ReasonProbeFailed},
		{answer(1130, "Host is not allowed"), Answered, ReasonHostDenied},
	} {
		f := Classify(tt.err)
		if f.Class != tt.class || f.Reason != tt.reason {
			t.Errorf("%v: %s %s, want %s %s", tt.err, f.Class, f.Reason, tt.class, tt.reason)
		}
		if tt.err == nil {
			continue
		}
		if wrapped := Classify(fmt.Errorf("read: %w", tt.err)); wrapped.Class != f.Class || wrapped.Reason != f.Reason || wrapped.Text != "read: "+tt.err.Error() {
			t.Errorf("wrapped %v: %+v", tt.err, wrapped)
		}
	}
}

// TestNotDeath is the list of errors that are never death.
func TestNotDeath(t *testing.T) {
	for _, n := range []uint16{1040, 1129, 1130, 1203, 1226, 1045, 1044, 1698, 3159, 3032, 1053, 3168, 2026, 1862} {
		s := goodPrimary(t)
		s.Failure = Classify(&mysql.MySQLError{Number: n, Message: "x"})
		if s.Failure.Reason == ReasonProbeFailed {
			t.Errorf("%d has no word of its own", n)
		}
		v := Assess(s, settled(t, goodPrimary(t)), Policy{})
		if v.Health != HealthAlive || v.Primary.Hung {
			t.Errorf("%d: %s, hung %t", n, v.Health, v.Primary.Hung)
		}
	}
	for n, r := range answers {
		if !slices.Contains(Reasons(), r) {
			t.Errorf("%d: %q is not in the vocabulary", n, r)
		}
	}
}

func TestJudgeWaiting(t *testing.T) {
	const timeout = 5 * time.Second
	for _, tt := range []struct {
		state        string
		waited, idle time.Duration
		want         CommitState
		reason       Reason
	}{
		// A reason is a reason for as long as it lasts.
		{"Waiting for semi-sync ACK from replica", time.Hour, time.Hour, CommitBlocked, WarnCommitWaitsForAck},
		{"Waiting for semi-sync ACK from slave", time.Hour, time.Hour, CommitBlocked, WarnCommitWaitsForAck},
		{"Waiting for global read lock", time.Hour, time.Hour, CommitBlocked, WarnCommitWaitsForGlobalLock},
		{"Waiting for commit lock", time.Hour, time.Hour, CommitBlocked, WarnCommitWaitsForGlobalLock},
		{"Waiting for backup lock", time.Hour, time.Hour, CommitBlocked, WarnCommitWaitsForGlobalLock},
		{"Waiting for table metadata lock", time.Hour, time.Hour, CommitBlocked, WarnCommitWaitsForLock},
		{"Waiting for table level lock", time.Hour, time.Hour, CommitBlocked, WarnCommitWaitsForLock},
		{"Waiting for table flush", time.Hour, time.Hour, CommitBlocked, WarnCommitWaitsForLock},
		// None: it depends on what is written meanwhile.
		{"waiting for handler commit", 300 * time.Millisecond, 300 * time.Millisecond, CommitPending, ""},
		{"waiting for handler commit", 30 * time.Second, 300 * time.Millisecond, CommitBlocked, WarnCommitWaitsForCommit},
		{"waiting for handler commit", 30 * time.Second, timeout, CommitHung, ReasonCommitHung},
		{"waiting for handler commit", timeout, timeout, CommitHung, ReasonCommitHung},
		{"waiting for handler commit", timeout - 1, timeout - 1, CommitPending, ""},
		// Nobody could look.
		{"", time.Second, time.Second, CommitPending, ""},
		{"", timeout, timeout, CommitHung, ReasonCommitHung},
	} {
		r := judgeWaiting(tt.state, tt.waited, tt.idle, timeout)
		if r.State != tt.want || r.Reason != tt.reason || r.Thread != tt.state {
			t.Errorf("%q for %v, idle %v: %+v", tt.state, tt.waited, tt.idle, r)
		}
	}
}
