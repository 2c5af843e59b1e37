// SPDX-License-Identifier: Apache-2.0

package mysqlcheck

import (
	"context"
	"crypto/tls"
	"database/sql"
	"database/sql/driver"
	"net"
	"strings"
	"time"

	"github.com/go-sql-driver/mysql"
)

// ConnConfig says how to reach a server. There is no DSN string, so no error
// can carry the password.
type ConnConfig struct {
	// Address is the absolute path of a unix socket, or host:port.
	Address string
	User    string
	// Password is asked at every connect, so that a rotated one is picked up.
	// Nil means none.
	Password func() string
	// TLS is used for host:port only; a unix socket needs none. With nil the
	// connection is plain, and caching_sha2_password then encrypts the password
	// with the server's RSA key. There is no falling back from TLS to plain.
	TLS *tls.Config
	// DialTimeout bounds connect; 0 means 1 s.
	DialTimeout time.Duration
	// ReadTimeout bounds each read and write on the connection, below any
	// context; 0 means 1 s. It must exceed the longest statement meant to run.
	ReadTimeout time.Duration
	// Program is shown in performance_schema.session_connect_attrs; "" means
	// "highwater".
	Program string
	// Dial replaces net.Dialer, for servers in another network namespace.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)
}

// network returns what to dial.
func (c ConnConfig) network() string {
	if strings.HasPrefix(c.Address, "/") {
		return "unix"
	}
	return "tcp"
}

// dial opens a bare connection to the address.
func (c ConnConfig) dial(ctx context.Context) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, orDefault(c.DialTimeout, time.Second))
	defer cancel()
	if c.Dial != nil {
		return c.Dial(ctx, c.network(), c.Address)
	}
	var d net.Dialer
	return d.DialContext(ctx, c.network(), c.Address)
}

// OpenDB returns a pool of at most maxConns connections that are kept open. It
// does not connect yet. A statement with a deadline must carry it in its
// context; the read timeout below it is what ends a read from a server that
// accepts and never speaks.
//
// Arguments are interpolated on our side, so a statement is one round trip.
// Times come back as time.Time in UTC.
func OpenDB(c ConnConfig, maxConns int) *sql.DB {
	cfg := mysql.NewConfig()
	cfg.Net, cfg.Addr, cfg.User = c.network(), c.Address, c.User
	if cfg.Net == "tcp" {
		cfg.TLS = c.TLS
	}
	cfg.Timeout = orDefault(c.DialTimeout, time.Second)
	cfg.ReadTimeout = orDefault(c.ReadTimeout, time.Second)
	cfg.WriteTimeout = cfg.ReadTimeout
	cfg.InterpolateParams = true
	cfg.ParseTime = true
	program := c.Program
	if program == "" {
		program = "highwater"
	}
	cfg.ConnectionAttributes = "program_name:" + program
	cfg.DialFunc = func(ctx context.Context, _, _ string) (net.Conn, error) { return c.dial(ctx) }
	// The driver logs what it also returns.
	cfg.Logger = &mysql.NopLogger{}

	// The same sessions on both flavours: UTC, and no surprise from a
	// server-wide sql_mode such as ANSI_QUOTES.
	cfg.Params = map[string]string{"time_zone": "'+00:00'", "sql_mode": "'STRICT_TRANS_TABLES'"}
	err := cfg.Apply(
		mysql.Charset("utf8mb4", ""),
		mysql.BeforeConnect(func(_ context.Context, cfg *mysql.Config) error {
			if c.Password != nil {
				cfg.Passwd = c.Password()
			}
			return nil
		}),
	)
	var connector driver.Connector = failedConnector{err}
	if err == nil {
		if connector, err = mysql.NewConnector(cfg); err != nil {
			connector = failedConnector{err}
		}
	}
	db := sql.OpenDB(connector)
	db.SetMaxOpenConns(maxConns)
	db.SetMaxIdleConns(maxConns)
	db.SetConnMaxLifetime(0)
	db.SetConnMaxIdleTime(0)
	return db
}

// failedConnector returns its error at every connect, which is where callers
// already expect one.
type failedConnector struct{ err error }

func (f failedConnector) Connect(context.Context) (driver.Conn, error) { return nil, f.err }

func (f failedConnector) Driver() driver.Driver { return &mysql.MySQLDriver{} }

func orDefault(d, def time.Duration) time.Duration {
	if d <= 0 {
		return def
	}
	return d
}
