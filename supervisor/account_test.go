// SPDX-License-Identifier: Apache-2.0

package supervisor

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"highwater/configs"
	"highwater/mysqlcheck"
	"highwater/test/lab"
)

// The passwords of the tests; none of them may show in a finding.
const (
	replPassword  = `right \ pass'word`
	otherPassword = "an older one"
)

// authority is a certificate authority whose server certificate is for 127.0.0.1.
type authority struct{ ca, cert, key string } // files

func newAuthority(t *testing.T) authority {
	t.Helper()
	dir := t.TempDir()
	make := func(name string, template, parent *x509.Certificate, signer *ecdsa.PrivateKey) (*ecdsa.PrivateKey, string, string) {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		if signer == nil {
			signer = key
		}
		template.SerialNumber, template.Subject = big.NewInt(time.Now().UnixNano()), pkix.Name{CommonName: name}
		template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
		der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
		if err != nil {
			t.Fatal(err)
		}
		private, err := x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			t.Fatal(err)
		}
		cert, keyFile := filepath.Join(dir, name+".pem"), filepath.Join(dir, name+".key")
		for path, block := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: der}, keyFile: {Type: "PRIVATE KEY", Bytes: private}} {
			if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		return key, cert, keyFile
	}
	root := &x509.Certificate{IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	signer, ca, _ := make("authority", root, root, nil)
	leaf := &x509.Certificate{IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	_, cert, key := make("server", leaf, root, signer)
	return authority{ca, cert, key}
}

// accountBench is one real server that is the local one and the peer's at once: accounts
// replicate, so both know the same.
type accountBench struct {
	t      *testing.T
	server *lab.Server
	config *configs.Config
}

func newAccountBench(t *testing.T, c lab.ServerConfig) *accountBench {
	t.Helper()
	lab.Require(t, string(c.Flavor))
	c.Dir = t.TempDir()
	server, err := lab.StartServer(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Close)
	b := &accountBench{t: t, server: server, config: configs.Default()}
	v, err := mysqlcheck.ServerVersion(t.Context(), server.DB())
	if err != nil {
		t.Fatal(err)
	}
	b.do(mysqlcheck.Grants(v, mysqlcheck.Accounts{
		Supervisor:  mysqlcheck.Account{User: "highwater", Host: "localhost", Password: "hw"},
		Replication: []mysqlcheck.Account{{User: "repl-db1", Host: "%", Password: replPassword}},
	})...)
	kill := false
	b.config.Fencing.KillServer = &kill
	b.config.Durability.Mode = configs.BestEffort
	b.config.MySQL.Address = server.Socket()
	b.config.MySQL.Replication.PasswordFile = "/etc/highwater/repl.password"
	b.config.Cluster.Nodes = []configs.Node{{Name: "db1"}, {Name: "db2", MySQL: server.Addr()}, {Name: "w1", Witness: true}}
	return b
}

func (b *accountBench) do(statements ...string) {
	b.t.Helper()
	if err := b.server.Exec(b.t.Context(), statements...); err != nil {
		b.t.Fatal(err)
	}
}

// check returns what is found as db1, with the password of the configuration.
func (b *accountBench) check() []Finding {
	b.t.Helper()
	var found []Finding
	checkAccount(b.t.Context(), b.config, configs.Secrets{MySQL: "hw", Replication: replPassword}, &b.config.Cluster.Nodes[0],
		func(severity mysqlcheck.Severity, subject, problem, fix string) {
			found = append(found, Finding{severity, subject, problem, fix})
		})
	for _, f := range found {
		if text := fmt.Sprint(f); strings.Contains(text, replPassword) || strings.Contains(text, "pass'word") {
			b.t.Errorf("a password shows: %s", text)
		}
	}
	return found
}

// clean wants nothing to be found.
func (b *accountBench) clean() {
	b.t.Helper()
	if found := b.check(); len(found) > 0 {
		b.t.Errorf("found %+v, want nothing", found)
	}
}

// finds wants one finding.
func (b *accountBench) finds(severity mysqlcheck.Severity, problem, fix string) {
	b.t.Helper()
	found := b.check()
	if len(found) != 1 {
		b.t.Errorf("found %+v, want one finding: %s", found, problem)
		return
	}
	f := found[0]
	if f.Severity != severity || !strings.Contains(f.Problem, problem) || !strings.Contains(f.Fix, fix) ||
		!strings.Contains(f.Problem, "of db2 ("+b.server.Addr()+") as repl-db1") {
		b.t.Errorf("found %s: %s -> %s; want %s: %s -> %s", f.Severity, f.Problem, f.Fix, severity, problem, fix)
	}
}

// What keeps a server from following a peer's is named before a failover finds it out.
func TestCheckAccount(t *testing.T) {
	for _, flavor := range []lab.Flavor{lab.MySQL, lab.MariaDB} {
		t.Run(string(flavor), func(t *testing.T) {
			known := newAuthority(t)
			b := newAccountBench(t, lab.ServerConfig{Flavor: flavor, Extra: []string{"ssl_ca=" + known.ca, "ssl_cert=" + known.cert, "ssl_key=" + known.key}})
			maria := flavor.IsMariaDB()
			account := "'repl-db1'@'%'"
			right := `'right \\ pass''word'`
			b.clean()

			b.do("ALTER USER " + account + " IDENTIFIED BY '" + otherPassword + "'")
			b.finds(mysqlcheck.Blocker, "the password is wrong: Error 1045", "in /etc/highwater/repl.password")
			b.do("DROP USER " + account)
			b.finds(mysqlcheck.Blocker, "the account is missing: Error 1045", "highwater grants")

			b.do("CREATE USER "+account+" IDENTIFIED BY "+right, "GRANT REPLICATION SLAVE ON *.* TO "+account)
			if !maria {
				b.finds(mysqlcheck.Advice, "lacks BACKUP_ADMIN", "GRANT BACKUP_ADMIN")
				b.do("GRANT BACKUP_ADMIN ON *.* TO " + account)
			}
			b.clean()
			b.do("REVOKE REPLICATION SLAVE ON *.* FROM " + account)
			b.finds(mysqlcheck.Blocker, "lacks REPLICATION SLAVE", "GRANT REPLICATION SLAVE")
			b.do("GRANT ALL ON *.* TO " + account)
			b.clean()

			b.do("ALTER USER " + account + " ACCOUNT LOCK")
			b.finds(mysqlcheck.Blocker, "the account is locked", "ACCOUNT UNLOCK")
			b.do("ALTER USER "+account+" ACCOUNT UNLOCK", "ALTER USER "+account+" PASSWORD EXPIRE")
			b.finds(mysqlcheck.Blocker, "the password has expired", "PASSWORD EXPIRE NEVER")
			b.do("ALTER USER "+account+" IDENTIFIED BY "+right, "ALTER USER "+account+" REQUIRE SSL")
			b.finds(mysqlcheck.Blocker, "only with TLS", "mysql.replication.tls")
			b.do("ALTER USER "+account+" REQUIRE NONE", "SET GLOBAL require_secure_transport = ON")
			b.finds(mysqlcheck.Blocker, "only with TLS", "mysql.replication.tls")

			b.config.MySQL.Replication.TLS = &configs.TLS{CAFile: known.ca}
			b.clean()
			b.config.MySQL.Replication.TLS.CAFile = newAuthority(t).ca
			b.finds(mysqlcheck.Blocker, "no TLS session", "certificate")
			b.config.MySQL.Replication.TLS = &configs.TLS{} // encrypted, and nobody verified, as the receiver does
			b.clean()
			b.do("SET GLOBAL require_secure_transport = OFF")
			b.config.MySQL.Replication.TLS = nil

			// A server that is not there says nothing of the account.
			if err := b.server.Stop(); err != nil {
				t.Fatal(err)
			}
			b.finds(mysqlcheck.Caution, "no answer", "check again")
			if err := b.server.Cont(); err != nil {
				t.Fatal(err)
			}
			b.server.Kill()
			b.finds(mysqlcheck.Caution, "nothing listens there", "start the server")
		})
	}
}

// A server that offers no TLS is found out where TLS is configured.
func TestCheckAccountWithoutServerTLS(t *testing.T) {
	for flavor, option := range map[lab.Flavor]string{lab.MySQL: "tls_version=", lab.MariaDB: "skip_ssl"} {
		t.Run(string(flavor), func(t *testing.T) {
			b := newAccountBench(t, lab.ServerConfig{Flavor: flavor, Extra: []string{option}})
			b.clean()
			b.config.MySQL.Replication.TLS = &configs.TLS{}
			b.finds(mysqlcheck.Blocker, "no TLS session", "mysql.replication.tls")
		})
	}
}

// Peers that hang are asked at once: their times do not add up.
func TestCheckAccountAsksAllAtOnce(t *testing.T) {
	const peers = 8
	l, err := net.Listen("tcp", "127.0.0.1:0") // accepted by the kernel, and never answered
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c := configs.Default()
	c.MySQL.Address = filepath.Join(t.TempDir(), "absent.sock")
	c.Check.Timeout = 300 * time.Millisecond
	c.Cluster.Nodes = []configs.Node{{Name: "db1"}}
	for i := range peers {
		c.Cluster.Nodes = append(c.Cluster.Nodes, configs.Node{Name: fmt.Sprintf("db%d", i+2), MySQL: l.Addr().String()})
	}
	var found []string
	began := time.Now()
	checkAccount(t.Context(), c, configs.Secrets{Replication: replPassword}, &c.Cluster.Nodes[0],
		func(severity mysqlcheck.Severity, _, problem, _ string) {
			if severity == mysqlcheck.Caution {
				found = append(found, strings.Fields(problem)[6])
			}
		})
	if took := time.Since(began); took > peers*c.Check.Timeout {
		t.Errorf("took %v", took)
	}
	if want := []string{"db2", "db3", "db4", "db5", "db6", "db7", "db8", "db9"}; !slices.Equal(found, want) {
		t.Errorf("found %q, want %q in this order", found, want)
	}
}
