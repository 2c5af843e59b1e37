// SPDX-License-Identifier: Apache-2.0

package promote

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"highwater/mysqlcheck"
)

const (
	// lockLimit bounds how long the sessions of a locked account may take to go.
	// A killed dump thread is gone in milliseconds, also one that is stuck in a
	// write to a frozen replica; on MySQL that of a replica that acknowledges takes
	// up to a second.
	lockLimit = 5 * time.Second
	// loginPatience is how long a login that was under way when an account was
	// locked may take to say whose it is; then it is killed.
	loginPatience = 200 * time.Millisecond
)

// ErrNoAccount says that a server has no account of that name, so none could be
// locked.
var ErrNoAccount = errors.New("no such replication account")

// ErrForeignAcker says that somebody acknowledges by an account that is none of
// those which were locked.
type ErrForeignAcker struct{ Users []string }

// Error names the accounts.
func (e ErrForeignAcker) Error() string {
	return fmt.Sprintf("a replica acknowledges by an account that is not of any node (dump threads of %q)", e.Users)
}

// Dump is a thread that sends the binary log to somebody.
type Dump struct {
	ID         uint64 // of the connection
	User, Host string
	// ServerUUID is the reader's own word. MariaDB does not keep it.
	ServerUUID string
	// Acks says that the reader acknowledges; AcksKnown that the server tells.
	// MariaDB does only with performance_schema on.
	Acks, AcksKnown bool
}

// Dumps lists who reads the binary log.
func (s *Server) Dumps(ctx context.Context) ([]Dump, error) {
	c, err := s.connect(ctx)
	if err != nil {
		return nil, fmt.Errorf("list dump threads: %w", err)
	}
	defer c.close()
	dumps, err := c.dumps(ctx)
	if err != nil {
		return nil, fmt.Errorf("list dump threads: %w", err)
	}
	return dumps, nil
}

func (c *session) dumps(ctx context.Context) ([]Dump, error) {
	list, err := mysqlcheck.Dumps(ctx, c.conn, c.version)
	if err != nil {
		return nil, err
	}
	// A replica introduces itself with user variables before it asks for the log.
	variables := make(map[uint64]map[string]string)
	err = c.query(ctx, mysqlcheck.StmtDumpVariables, nil, func(rows *sql.Rows) error {
		var id uint64
		var name, value string
		if err := rows.Scan(&id, &name, &value); err != nil {
			return err
		}
		if variables[id] == nil {
			variables[id] = make(map[string]string)
		}
		variables[id][name] = value
		return nil
	})
	if err != nil {
		return nil, err
	}
	dumps := make([]Dump, 0, len(list))
	for _, t := range list {
		of, known := variables[t.ID]
		d := Dump{ID: t.ID, User: t.User, Host: t.Host, AcksKnown: known || c.version.Flavor == mysqlcheck.MySQL}
		for name, value := range of {
			switch name {
			case "replica_uuid", "slave_uuid":
				d.ServerUUID = value
			case "rpl_semi_sync_replica", "rpl_semi_sync_slave":
				d.Acks = d.Acks || value != "0"
			}
		}
		dumps = append(dumps, d)
	}
	return dumps, nil
}

// LockReplica makes it impossible for the node whose replication account is
// user to read from this server, and thus to acknowledge, until
// [Server.UnlockReplica]: it locks the account, on every host that it is for,
// ends its dump threads and every other session of it, and sees them gone. On an
// error the account may be locked, and nothing may be concluded.
//
// A kill alone would not do: the replica is back within a second (measured on
// both flavours). Nor is it enough to end what is a dump thread by then: a
// receiver that has logged in becomes one a moment later. And a login that was
// past the check of the lock when that came must have shown whose it is.
//
// The lock is not in the binary log, so it makes no GTID and concerns this
// server alone; it outlasts a restart, and it goes along with CLONE and
// backups. It does not wait for an acknowledgement, nor behind commits that do
// (both measured). The server must accept writes; [Server.LockAll] is for one
// that does not yet. It returns [ErrNoAccount] if there is no such account.
func (s *Server) LockReplica(ctx context.Context, user string) error {
	c, err := s.connect(ctx)
	if err != nil {
		return fmt.Errorf("lock account %s: %w", user, err)
	}
	defer c.close()
	if err := c.reap(ctx); err != nil { // perhaps an unlock
		return fmt.Errorf("lock account %s: %w", user, err)
	}
	if err := c.setLocks(ctx, []string{user}, true, atOnce); err != nil {
		return fmt.Errorf("lock account %s: %w", user, err)
	}
	if err := c.endAccounts(ctx, []string{user}); err != nil {
		return fmt.Errorf("lock account %s: %w", user, err)
	}
	return nil
}

// UnlockReplica lets the node read again. Its receiver comes back by itself. It
// must not run beside [Server.LockReplica] of the same account.
func (s *Server) UnlockReplica(ctx context.Context, user string) error {
	c, err := s.connect(ctx)
	if err != nil {
		return fmt.Errorf("unlock account %s: %w", user, err)
	}
	defer c.close()
	if err := c.reap(ctx); err != nil {
		return fmt.Errorf("unlock account %s: %w", user, err)
	}
	if err := c.setLocks(ctx, []string{user}, false, atOnce); err != nil {
		return fmt.Errorf("unlock account %s: %w", user, err)
	}
	return nil
}

// LockAll is [Server.LockReplica] for the accounts of all other nodes, for the
// start of a term: on a server that is still read-only, after
// [Server.EnableSource] and before writes open. It returns [ErrForeignAcker] if
// somebody acknowledges who has none of these accounts.
//
// MySQL refuses to change an account under super_read_only, whoever asks. So
// super_read_only, not read_only, is off for as long as that takes: that still
// binds everybody but administrators, and whose commits slip through wait for
// acknowledgements like all others. MariaDB, which has only read_only, lets an
// account with READ_ONLY ADMIN do it.
func (s *Server) LockAll(ctx context.Context, users []string) error {
	ctx, c, end, err := s.start(ctx, "lock replicas", rankPromote)
	if err != nil {
		return err
	}
	defer end()
	if err := c.lockAll(ctx, users, nil); err != nil {
		return fmt.Errorf("lock replicas: %w", err)
	}
	return nil
}

// lockAll is LockAll beside others, who may acknowledge.
func (c *session) lockAll(ctx context.Context, users, others []string) error {
	if len(users) > 0 {
		if err := c.setLocks(ctx, users, true, c.belowSuperReadOnly); err != nil {
			return err
		}
		if err := c.endAccounts(ctx, users); err != nil {
			return err
		}
	}
	return c.noForeignAcker(ctx, slices.Concat(users, others))
}

// unlockAll unlocks those of the users' accounts that are locked.
func (c *session) unlockAll(ctx context.Context, users []string) error {
	if len(users) == 0 {
		return nil
	}
	list, err := c.accounts(ctx, users)
	if err != nil {
		return err
	}
	list = slices.DeleteFunc(list, func(a account) bool { return !a.locked })
	if len(list) == 0 {
		return nil
	}
	return c.setLocks(ctx, users, false, c.belowSuperReadOnly)
}

// ForeignAckers returns [ErrForeignAcker] if somebody acknowledges this server's
// commits who has none of the users' accounts.
func (s *Server) ForeignAckers(ctx context.Context, users []string) error {
	c, err := s.connect(ctx)
	if err != nil {
		return fmt.Errorf("look for foreign replicas: %w", err)
	}
	defer c.close()
	return c.noForeignAcker(ctx, users)
}

// belowSuperReadOnly runs do with super_read_only off, if it is on, and read_only
// on all the while. Afterwards it is on again, whatever happened.
func (c *session) belowSuperReadOnly(ctx context.Context, do func() error) (err error) {
	st, err := c.state(ctx)
	if err != nil {
		return err
	}
	if _, ok := c.version.SQL(mysqlcheck.StmtReadOnlyMost); !ok || !st.readOnly {
		return do()
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), c.server.cfg.FenceTimeout)
		defer cancel()
		back, backErr := c.server.connect(ctx)
		if backErr == nil {
			defer back.discard() // it has a lock_wait_timeout of its own
			backErr = back.exec(ctx, mysqlcheck.StmtReadOnly, max(1, int(c.server.cfg.FenceTimeout/time.Second)))
		}
		if backErr != nil {
			err = errors.Join(err, fmt.Errorf("set super_read_only again: %w", backErr))
		}
	}()
	if err := c.exec(ctx, mysqlcheck.StmtReadOnlyMost); err != nil {
		return err
	}
	return do()
}

// account is one account of a user.
type account struct {
	user, host string
	locked     bool
}

// accounts lists all accounts of the users. It returns [ErrNoAccount] if one has
// none.
func (c *session) accounts(ctx context.Context, users []string) ([]account, error) {
	query, err := c.text(mysqlcheck.StmtAccounts)
	if err != nil {
		return nil, err
	}
	args := make([]any, len(users))
	for i, user := range users {
		args[i] = user
	}
	query = strings.Replace(query, "{users}", placeholders("?", len(users)), 1)
	var list []account
	err = c.queryText(ctx, string(mysqlcheck.StmtAccounts), query, args, func(rows *sql.Rows) error {
		var a account
		if err := rows.Scan(&a.user, &a.host, &a.locked); err != nil {
			return err
		}
		list = append(list, a)
		return nil
	})
	if err != nil {
		return nil, err
	}
	for _, user := range users {
		if !slices.ContainsFunc(list, func(a account) bool { return a.user == user }) {
			return nil, fmt.Errorf("%w: %q", ErrNoAccount, user)
		}
	}
	return list, nil
}

// placeholders are n of them.
func placeholders(each string, n int) string {
	return strings.Join(slices.Repeat([]string{each}, n), ", ")
}

// atOnce is for a server that accepts writes; see belowSuperReadOnly.
func atOnce(_ context.Context, do func() error) error { return do() }

// setLocks locks or unlocks all accounts of the users, and reads that back. What
// changes them is run by around.
func (c *session) setLocks(ctx context.Context, users []string, locked bool, around func(context.Context, func() error) error) error {
	statement := mysqlcheck.StmtUnlockAccount
	if locked {
		statement = mysqlcheck.StmtLockAccount
	}
	text, err := c.text(statement)
	if err != nil {
		return err
	}
	list, err := c.accounts(ctx, users)
	if err != nil {
		return err
	}
	// All of them, also those that are so already: by the table, which the server
	// reads once.
	text = strings.Replace(text, "{accounts}", placeholders("?@?", len(list)), 1)
	var args []any
	for _, a := range list {
		args = append(args, a.user, a.host)
	}
	quiet, err := c.server.connect(ctx)
	if err != nil {
		return err
	}
	defer quiet.discard() // it does not log what it does
	if err := quiet.exec(ctx, mysqlcheck.StmtNoBinlog); err != nil {
		return err
	}
	err = around(ctx, func() error { return quiet.execText(ctx, string(statement), text, args...) })
	if err != nil {
		return err
	}
	after, err := c.accounts(ctx, users)
	if err != nil {
		return err
	}
	for _, a := range after {
		if a.locked != locked {
			return fmt.Errorf("account '%s'@'%s' did not stay as it was set", a.user, a.host)
		}
	}
	return nil
}

// endAccounts ends all sessions of the users, whose accounts are locked, and
// returns when they are gone and no login is under way that may be theirs.
func (c *session) endAccounts(ctx context.Context, users []string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, lockLimit, errors.New("its sessions are still there"))
	defer cancel()
	var logins map[uint64]bool // under way since before the lock
	begin := mysqlcheck.Boottime()
	killed := make(map[uint64]bool)
	for {
		list, err := mysqlcheck.Threads(ctx, c.conn, c.version)
		if err != nil {
			return err
		}
		first := logins == nil
		if first {
			logins = make(map[uint64]bool)
		}
		left := 0
		for _, t := range list {
			if first && t.User == "" {
				logins[t.ID] = true
			}
			login := t.User == "" && logins[t.ID]
			if !login && !slices.Contains(users, t.User) {
				continue
			}
			left++
			if killed[t.ID] || login && mysqlcheck.Boottime()-begin < loginPatience {
				continue
			}
			if err := c.kill(ctx, t.ID); err != nil {
				return err
			}
			killed[t.ID] = true
		}
		if left == 0 {
			return nil
		}
		if err := sleep(ctx, pollMin); err != nil {
			return err
		}
	}
}

// noForeignAcker returns [ErrForeignAcker] if somebody acknowledges who has none
// of the users' accounts.
func (c *session) noForeignAcker(ctx context.Context, users []string) error {
	dumps, err := c.dumps(ctx)
	if err != nil {
		return err
	}
	var foreign []string
	for _, d := range dumps {
		if slices.Contains(users, d.User) {
			continue
		}
		acks := d.Acks
		if !d.AcksKnown {
			st, err := c.sourceState(ctx)
			if err != nil {
				return err
			}
			acks = st.Clients > 0
		}
		if acks {
			foreign = append(foreign, d.User)
		}
	}
	if len(foreign) == 0 {
		return nil
	}
	slices.Sort(foreign)
	return ErrForeignAcker{slices.Compact(foreign)}
}
