// SPDX-License-Identifier: Apache-2.0

package mysqlcheck

import (
	"context"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"
)

// TestWaitingUnseen: a commit that nobody can look at is hung when the server is silent, and
// not when it answers that it does not let us look.
func TestWaitingUnseen(t *testing.T) {
	now := 100 * time.Second
	for _, tt := range []struct {
		name string
		err  error
		want CommitState
	}{
		{"silence", context.DeadlineExceeded, CommitHung},
		{"wrong password", &mysql.MySQLError{Number: 1045, Message: "Access denied"}, CommitBlocked},
		{"too many connections", &mysql.MySQLError{Number: 1040, Message: "Too many connections"}, CommitBlocked},
	} {
		c := &committer{
			cfg:   ProbeConfig{CommitTimeout: 5 * time.Second, Now: func() time.Duration { return now }},
			began: now - 10*time.Second, progressAt: now - 10*time.Second,
		}
		r := c.waiting(threadState{}, tt.err)
		if r.State != tt.want || r.Reason == "" {
			t.Errorf("%s: %v (%s), want %v", tt.name, r.State, r.Reason, tt.want)
		}
	}
}
