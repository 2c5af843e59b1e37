// SPDX-License-Identifier: Apache-2.0

package supervisor

import (
	"context"
	"crypto/tls"
	"database/sql"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"highwater/configs"
	"highwater/mysqlcheck"
)

// replicaAccount is the account by which the local server would follow a peer's: its own name,
// the configured password, and TLS as [promote.Server.Follow] would set it.
type replicaAccount struct {
	user     string
	password func() string
	file     string // that the password is written in, for people; "" for none
	tls      *configs.TLS
	timeout  time.Duration // of one answer
	local    *sql.DB
}

// checkAccount logs in to every peer's server as the local one would after a failover. An
// account that was there before `highwater grants` has kept its old password, and a channel
// that runs keeps the one that it was given: nobody notices before the next failover.
func checkAccount(ctx context.Context, c *configs.Config, secrets configs.Secrets, self *configs.Node, add adder) {
	conn, err := serverConn(c, secrets)
	if err != nil || self.Witness {
		return // the error was found before
	}
	r := c.MySQL.Replication
	a := &replicaAccount{
		user: r.UserFor(self.Name), password: secrets.Replication.Reveal, file: r.PasswordFile, tls: r.TLS,
		timeout: c.Check.Timeout, local: mysqlcheck.OpenDB(conn, 1),
	}
	defer a.local.Close()
	found := make([]Finding, len(c.Cluster.Nodes))
	var all sync.WaitGroup
	for i := range c.Cluster.Nodes {
		if peer := &c.Cluster.Nodes[i]; peer.Name != self.Name && !peer.Witness {
			host, port := c.ReplicationAddress(peer)
			all.Go(func() { found[i] = a.check(ctx, peer.Name, net.JoinHostPort(host, strconv.Itoa(int(port)))) })
		}
	}
	all.Wait()
	for _, f := range found {
		if f.Problem != "" {
			add(f.Severity, f.Subject, f.Problem, f.Fix)
		}
	}
}

// check logs in to one peer's server. The zero Finding means that all is well.
func (a *replicaAccount) check(ctx context.Context, peer, address string) Finding {
	config, err := a.clientTLS(address)
	if err != nil {
		return Finding{mysqlcheck.Blocker, "replication", "mysql.replication.tls: " + err.Error(), ""}
	}
	err = a.logIn(ctx, address, config)
	if f := mysqlcheck.Classify(err); config == nil && f.Number == erAccessDenied {
		// An account that demands TLS is answered like a wrong password, and so is
		// require_secure_transport on MariaDB. Another try counts only when it succeeds.
		again := a.logIn(ctx, address, &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: true})
		if again == nil || errors.As(again, new(missingPrivileges)) {
			err = errTLSRequired
		}
	}
	severity, problem, fix := a.judge(ctx, err, peer)
	if problem == "" {
		return Finding{}
	}
	return Finding{severity, "replication", fmt.Sprintf("log in to the server of %s (%s) as %s: %s", peer, address, a.user, problem), fix}
}

// clientTLS is the TLS of the channel, see sourceTLS, for a client; nil without.
func (a *replicaAccount) clientTLS(address string) (*tls.Config, error) {
	if a.tls == nil {
		return nil, nil
	}
	config, err := clientTLS(a.tls, address)
	if err != nil {
		return nil, err
	}
	config.InsecureSkipVerify = a.tls.CAFile == "" // the receiver does not verify without one
	return config, nil
}

// logIn connects, and looks whether the account may replicate.
func (a *replicaAccount) logIn(ctx context.Context, address string, config *tls.Config) error {
	ctx, cancel := context.WithTimeout(ctx, 2*a.timeout)
	defer cancel()
	db := mysqlcheck.OpenDB(mysqlcheck.ConnConfig{
		Address: address, User: a.user, Password: a.password, TLS: config,
		DialTimeout: a.timeout, ReadTimeout: a.timeout, Program: "highwater check",
	}, 1)
	defer db.Close()
	if err := db.PingContext(ctx); err != nil {
		return err // in the server's own words
	}
	version, err := mysqlcheck.ServerVersion(ctx, db)
	if err != nil {
		return err
	}
	held, err := globalPrivileges(ctx, db, version)
	if err != nil {
		return err
	}
	var missing missingPrivileges
	if !slices.ContainsFunc(held, func(p string) bool {
		return p == replicationSlave || p == "REPLICATION REPLICA" || p == "ALL PRIVILEGES" || p == "ALL"
	}) {
		missing = append(missing, replicationSlave)
	}
	if version.Flavor == mysqlcheck.MySQL && !slices.Contains(held, backupAdmin) { // ALL is written out there
		missing = append(missing, backupAdmin)
	}
	if len(missing) > 0 {
		return missing
	}
	return nil
}

// globalPrivileges returns what the connected account may do on *.*.
func globalPrivileges(ctx context.Context, db *sql.DB, version mysqlcheck.Version) (held []string, err error) {
	text, ok := version.SQL(mysqlcheck.StmtGrants)
	if !ok {
		return nil, version.Supported()
	}
	rows, err := db.QueryContext(ctx, text)
	if err != nil {
		return nil, fmt.Errorf("show grants: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var line string
		if err := rows.Scan(&line); err != nil {
			return nil, fmt.Errorf("show grants: %w", err)
		}
		list, _, global := strings.Cut(strings.TrimPrefix(line, "GRANT "), " ON *.* TO ")
		for name := range strings.SplitSeq(list, ",") {
			if global {
				held = append(held, strings.ToUpper(strings.TrimSpace(name)))
			}
		}
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("show grants: %w", err)
	}
	return held, nil
}

// What the account needs on its source; see [mysqlcheck.Grants].
const (
	replicationSlave = "REPLICATION SLAVE"
	backupAdmin      = "BACKUP_ADMIN" // MySQL: to be the donor of `highwater rejoin --rebuild`
)

// missingPrivileges is the error of a login that came about and is of little use.
type missingPrivileges []string

func (m missingPrivileges) Error() string { return "missing " + strings.Join(m, ", ") }

// errTLSRequired: the account is fine, and the server wants TLS.
var errTLSRequired = errors.New("accepted only with TLS")

// Errors of a login, as the servers number them. Others mean what [mysqlcheck.Classify] says.
const (
	erAccessDenied           = 1045
	erHostBlocked            = 1129
	erHostNotPrivileged      = 1130
	erAccessDeniedNoPassword = 1698
	erMustChangePassword     = 1820
	erPasswordExpired        = 1862
	erAccountLocked          = 3118
	erSecureTransport        = 3159
	erAccountBlocked         = 3955 // FAILED_LOGIN_ATTEMPTS
	erAccountLockedMariaDB   = 4151
)

// judge says what is wrong with a login and what mends it; problem is "" when nothing is. What
// says nothing of the account is a caution.
func (a *replicaAccount) judge(ctx context.Context, err error, peer string) (severity mysqlcheck.Severity, problem, fix string) {
	const untried = ", so the account could not be tried"
	account := fmt.Sprintf("'%s'@'%%'", a.user)
	f := mysqlcheck.Classify(err)
	var missing missingPrivileges
	switch {
	case err == nil:
		return 0, "", ""
	case errors.As(err, &missing) && slices.Contains(missing, replicationSlave):
		return mysqlcheck.Blocker, "the account lacks REPLICATION SLAVE: this server could not follow that one",
			fmt.Sprintf("on the primary: GRANT %s ON *.* TO %s", strings.Join(missing, ", "), account)
	case errors.As(err, &missing):
		return mysqlcheck.Advice, fmt.Sprintf("the account lacks %s: `highwater rejoin --rebuild` here could not copy that server", backupAdmin),
			fmt.Sprintf("on the primary: GRANT %s ON *.* TO %s", backupAdmin, account)
	case errors.Is(err, errTLSRequired), f.Number == erSecureTransport:
		return mysqlcheck.Blocker, "it is accepted only with TLS, and mysql.replication.tls is not written",
			"write mysql.replication.tls on every host, or take REQUIRE SSL or require_secure_transport off"
	case f.Class == mysqlcheck.Refused:
		return mysqlcheck.Caution, "nothing listens there" + untried, "start the server, then check again"
	case f.Class == mysqlcheck.TimedOut, f.Class == mysqlcheck.Dropped:
		return mysqlcheck.Caution, "no answer" + untried + ": " + f.Text, "see whether that server runs and its port is let through, then check again"
	}
	switch f.Number {
	case erAccessDenied, erAccessDeniedNoPassword:
		return mysqlcheck.Blocker, a.denied(ctx) + ": " + f.Text, a.setPassword(account)
	case erAccountLocked, erAccountLockedMariaDB, erAccountBlocked:
		return mysqlcheck.Blocker, "the account is locked: " + f.Text, fmt.Sprintf("on the primary: ALTER USER %s ACCOUNT UNLOCK", account)
	case erMustChangePassword, erPasswordExpired:
		return mysqlcheck.Blocker, "the password has expired: " + f.Text, fmt.Sprintf("on the primary: ALTER USER %s PASSWORD EXPIRE NEVER", account)
	case erHostNotPrivileged:
		return mysqlcheck.Blocker, "no account is for this host: " + f.Text, "on the primary: run the output of `highwater grants`"
	case erHostBlocked:
		return mysqlcheck.Blocker, "this host is blocked there: " + f.Text, "on " + peer + ": TRUNCATE TABLE performance_schema.host_cache, on MariaDB FLUSH HOSTS"
	}
	switch f.Reason {
	case mysqlcheck.ReasonTLSFailed:
		return mysqlcheck.Blocker, "no TLS session came about: " + f.Text, "compare mysql.replication.tls with that server's certificate: its name, its dates, who signed it"
	case mysqlcheck.ReasonTooManyConnections, mysqlcheck.ReasonServerShuttingDown, mysqlcheck.ReasonOfflineMode:
		return mysqlcheck.Caution, "it takes nobody now" + untried + ": " + f.Text, "check again"
	case mysqlcheck.ReasonAccessDenied:
		if f.Number == 0 { // the client's side of the plugin is missing
			return mysqlcheck.Caution, "this check cannot speak the account's authentication plugin" + untried + ": " + f.Text, ""
		}
	}
	return mysqlcheck.Blocker, f.Text, ""
}

// denied tells a wrong password from a missing account where that can be told: the server
// answers alike, on purpose. Accounts replicate, so the local one has it too, and says so where
// our account may look, as what `highwater grants` gives lets it.
func (a *replicaAccount) denied(ctx context.Context) string {
	ctx, cancel := context.WithTimeout(ctx, a.timeout)
	defer cancel()
	var n int
	err := a.local.QueryRowContext(ctx, `SELECT COUNT(*) FROM mysql.user WHERE User = ?`, a.user).Scan(&n)
	switch {
	case err != nil:
		return "the password is wrong, or the account is missing (it answers alike)"
	case n == 0:
		return "the account is missing"
	default:
		return "the password is wrong"
	}
}

func (a *replicaAccount) setPassword(account string) string {
	from := "that mysql.replication names"
	if a.file != "" {
		from = "in " + a.file
	}
	return fmt.Sprintf("on the primary: run the output of `highwater grants`, which makes what is missing, then\nALTER USER %s IDENTIFIED BY '...', with the password %s", account, from)
}
