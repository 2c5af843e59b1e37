// SPDX-License-Identifier: Apache-2.0

package peer

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// refusedFor runs attempt and expects the server to count exactly reason for it, and the handler to see nothing.
func refusedFor(t *testing.T, reason Reason, attempt func(t *testing.T, address string)) {
	t.Helper()
	h := &fakeHandler{}
	s := startServer(t, h)
	attempt(t, s.Addr().String())
	eventually(t, "counted as "+string(reason), func() bool { return s.Stats().Refused[reason] == 1 })
	for r, n := range s.Stats().Refused {
		if n > 0 && r != reason {
			t.Errorf("also counted: %s", r)
		}
	}
	for kind, n := range s.Stats().Messages {
		if n > 0 {
			t.Errorf("%s was handled", kind)
		}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.statuses)+len(h.seals)+len(h.stands)+len(h.byes)+len(h.commands) > 0 {
		t.Error("handler was called")
	}
}

// shout completes a handshake with whatever config allows, without verifying the server, and expects to be cut off unanswered.
func shout(t *testing.T, address string, config *tls.Config) {
	t.Helper()
	config.InsecureSkipVerify = true
	tcp, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer tcp.Close()
	c := tls.Client(tcp, config)
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	if err := c.Handshake(); err != nil {
		return
	}
	_, _ = io.WriteString(c, "POST /v1/ping HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}")
	if reply, err := io.ReadAll(c); err == nil || len(reply) > 0 {
		t.Errorf("answered %q, %v", reply, err)
	}
}

func shoutAs(t *testing.T, address string, id *Identity) {
	t.Helper()
	certificate, _ := id.material()
	shout(t, address, &tls.Config{Certificates: []tls.Certificate{*certificate}})
}

func TestStrangerGetsNothing(t *testing.T) {
	t.Parallel()
	t.Run("plaintext", func(t *testing.T) {
		refusedFor(t, ReasonPlaintext, func(t *testing.T, address string) {
			c, err := net.Dial("tcp", address)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			_, _ = io.WriteString(c, "GET /v1/status HTTP/1.1\r\nHost: x\r\n\r\n")
			_ = c.SetDeadline(time.Now().Add(10 * time.Second))
			if reply, _ := io.ReadAll(c); strings.Contains(string(reply), "HTTP") {
				t.Errorf("answered %q", reply)
			}
		})
	})
	t.Run("tls 1.2", func(t *testing.T) {
		refusedFor(t, ReasonTLSVersion, func(t *testing.T, address string) {
			certificate, _ := mustIdentity(t, testCluster, "db2", testSecret).material()
			shout(t, address, &tls.Config{MaxVersion: tls.VersionTLS12, Certificates: []tls.Certificate{*certificate}})
		})
	})
	t.Run("no certificate", func(t *testing.T) {
		refusedFor(t, ReasonNoCertificate, func(t *testing.T, address string) { shout(t, address, &tls.Config{}) })
	})
	t.Run("other secret", func(t *testing.T) {
		refusedFor(t, ReasonWrongCertificate, func(t *testing.T, address string) {
			shoutAs(t, address, mustIdentity(t, testCluster, "db2", strings.Repeat("x", 32)))
		})
	})
	t.Run("other cluster name", func(t *testing.T) {
		refusedFor(t, ReasonWrongCertificate, func(t *testing.T, address string) {
			shoutAs(t, address, mustIdentity(t, "billing", "db2", testSecret))
		})
	})
	t.Run("unknown node", func(t *testing.T) {
		refusedFor(t, ReasonUnknownNode, func(t *testing.T, address string) {
			shoutAs(t, address, mustIdentity(t, testCluster, "db9", testSecret))
		})
	})
	t.Run("self", func(t *testing.T) {
		refusedFor(t, ReasonSelf, func(t *testing.T, address string) {
			shoutAs(t, address, mustIdentity(t, testCluster, "db1", testSecret))
		})
	})
	t.Run("several nodes", func(t *testing.T) {
		refusedFor(t, ReasonAmbiguousNode, func(t *testing.T, address string) {
			ca, key, err := deriveAuthority(testCluster, []byte(testSecret))
			if err != nil {
				t.Fatal(err)
			}
			shout(t, address, &tls.Config{Certificates: []tls.Certificate{leafOf(t, ca, key, func(c *x509.Certificate) {
				c.DNSNames = []string{"db2", "db3"}
			})}})
		})
	})
	t.Run("server certificate only", func(t *testing.T) {
		refusedFor(t, ReasonWrongCertificate, func(t *testing.T, address string) {
			ca, key, err := deriveAuthority(testCluster, []byte(testSecret))
			if err != nil {
				t.Fatal(err)
			}
			shout(t, address, &tls.Config{Certificates: []tls.Certificate{leafOf(t, ca, key, func(c *x509.Certificate) {
				c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
			})}})
		})
	})
	t.Run("honest client with another secret", func(t *testing.T) {
		refusedFor(t, ReasonRefusedByPeer, func(t *testing.T, address string) {
			c, err := NewClient(ClientConfig{
				Cluster: testCluster, Incarnation: "i", Identity: mustIdentity(t, testCluster, "db2", strings.Repeat("x", 32)),
				Peer: "db1", Address: address,
			})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := c.Seal(t.Context(), SealRequest{}); ReasonOf(err) != ReasonWrongCertificate {
				t.Errorf("error = %v", err)
			}
		})
	})
	t.Run("hangs up", func(t *testing.T) {
		refusedFor(t, ReasonClosed, func(t *testing.T, address string) {
			c, err := net.Dial("tcp", address)
			if err != nil {
				t.Fatal(err)
			}
			c.Close()
		})
	})
	t.Run("says nothing", func(t *testing.T) {
		t.Parallel()
		refusedFor(t, ReasonTimeout, func(t *testing.T, address string) {
			c, err := net.Dial("tcp", address)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { c.Close() })
		})
	})
}

// leafOf signs a client certificate for db2, changed by change.
func leafOf(t *testing.T, ca *x509.Certificate, caKey ed25519.PrivateKey, change func(*x509.Certificate)) tls.Certificate {
	t.Helper()
	public, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "db2"}, DNSNames: []string{"db2"},
		NotBefore: derivedNotBefore, NotAfter: derivedNotAfter, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
	}
	change(template)
	leaf, err := sign(template, ca, public, caKey)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{leaf.Raw}, PrivateKey: key}
}

func TestClientRefusesAnotherNode(t *testing.T) {
	s := startServerOf(t, &fakeHandler{}, mustIdentity(t, testCluster, "db3", testSecret), "127.0.0.1:0")
	c, _ := startClient(t, clientConfig(t, s)) // expects db1 there
	if _, err := c.Seal(t.Context(), SealRequest{}); ReasonOf(err) != ReasonUnknownNode {
		t.Errorf("error = %v", err)
	}
}

func TestClientRefusedLearnsIt(t *testing.T) {
	s := startServer(t, &fakeHandler{})
	cfg := clientConfig(t, s)
	cfg.Identity = mustIdentity(t, testCluster, "db9", testSecret) // the server does not know db9, but db9 trusts the server
	c, _ := startClient(t, cfg)
	if _, err := c.Seal(t.Context(), SealRequest{}); ReasonOf(err) != ReasonRefusedByPeer {
		t.Errorf("error = %v", err)
	}
}

func TestConnectionsAreBounded(t *testing.T) {
	t.Parallel()
	s := startServer(t, &fakeHandler{})
	hold := func(local string, n int) []net.Conn {
		t.Helper()
		d := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(local), 0))}
		var held []net.Conn
		for range n {
			c, err := d.Dial("tcp", s.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { c.Close() })
			held = append(held, c)
		}
		return held
	}
	refused := func() uint64 { return s.Stats().Refused[ReasonTooManyConnections] }
	hold("127.0.0.9", maxPerRemote+3)
	eventually(t, "the address is full", func() bool { return refused() == 3 })
	for _, remote := range []string{"127.0.0.10", "127.0.0.11", "127.0.0.12"} {
		hold(remote, maxPerRemote)
	}
	hold("127.0.0.13", 1)
	eventually(t, "strangers are full", func() bool { return refused() == 4 })
	// Peers have room of their own: db3's address is 127.0.0.3, client db2 comes from 127.0.0.1.
	c, _ := startClient(t, clientConfig(t, s))
	if _, err := c.Seal(t.Context(), SealRequest{Term: 1, Candidate: "db2"}); err != nil {
		t.Errorf("peer is kept out: %v", err)
	}
	eventually(t, "silent strangers are thrown out", func() bool {
		s.listener.mu.Lock()
		defer s.listener.mu.Unlock()
		return s.listener.strangers == 0
	})
}

func TestDerivationIsPinned(t *testing.T) {
	// Changing the derivation cuts a running cluster in two during an upgrade: never by accident.
	ca, _, err := deriveAuthority(testCluster, []byte(" "+testSecret+"\n"))
	if err != nil {
		t.Fatal(err)
	}
	again, _, err := deriveAuthority(testCluster, []byte(testSecret))
	if err != nil {
		t.Fatal(err)
	}
	if !ca.Equal(again) {
		t.Error("derivation is not deterministic, or counts white space")
	}
	const want = "9EgxBAqlQheLbcWbveTkjOLNSIzX6SCBbPtDeCLmRaM=" // computed with Python's hmac and openssl pkey
	if got := base64.StdEncoding.EncodeToString(ca.PublicKey.(ed25519.PublicKey)); got != want {
		t.Errorf("authority key = %s", got)
	}
}

func TestSecretsAreChecked(t *testing.T) {
	for name, derive := range map[string]func() error{
		"short":      func() error { _, err := DeriveIdentity("c", "n", []byte("0123456789abcde \n")); return err },
		"none":       func() error { _, err := DeriveIdentity("c", "n"); return err },
		"no cluster": func() error { _, err := DeriveIdentity("", "n", []byte(testSecret)); return err },
		"no node":    func() error { _, err := DeriveIdentity("c", "", []byte(testSecret)); return err },
		"second":     func() error { _, err := DeriveIdentity("c", "n", []byte(testSecret), []byte("x")); return err },
	} {
		if derive() == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestSecretIsReplacedWithoutACut(t *testing.T) {
	before, after := []byte(testSecret), []byte(strings.Repeat("y", 32))
	id := func(node string, secrets ...[]byte) *Identity {
		t.Helper()
		id, err := DeriveIdentity(testCluster, node, secrets...)
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
	for _, stage := range []struct {
		name           string
		server, client *Identity
	}{
		{"new one added at the server", id("db1", before, after), id("db2", before)},
		{"new one first at the server", id("db1", after, before), id("db2", before, after)},
		{"old one removed at the client", id("db1", after, before), id("db2", after)},
	} {
		s := startServerOf(t, &fakeHandler{}, stage.server, "127.0.0.1:0")
		cfg := clientConfig(t, s)
		cfg.Identity = stage.client
		c, _ := startClient(t, cfg)
		if _, err := c.Seal(t.Context(), SealRequest{Candidate: "db2"}); err != nil {
			t.Errorf("%s: %v", stage.name, err)
		}
	}
}

// ownFiles writes certificates of an operator's own authority.
func ownFiles(t *testing.T, dir, node string, ca *x509.Certificate, key ed25519.PrivateKey, change func(*x509.Certificate)) (cert, keyFile, caFile string) {
	t.Helper()
	leaf := leafOf(t, ca, key, func(c *x509.Certificate) {
		c.DNSNames = []string{node}
		change(c)
	})
	der, err := x509.MarshalPKCS8PrivateKey(leaf.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	write := func(name, kind string, der []byte) string {
		path := filepath.Join(dir, node+"."+name)
		if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	return write("crt", "CERTIFICATE", leaf.Certificate[0]), write("key", "PRIVATE KEY", der), write("ca", "CERTIFICATE", ca.Raw)
}

func TestOwnCertificates(t *testing.T) {
	dir := t.TempDir()
	ca, key, err := deriveAuthority("any", []byte(strings.Repeat("z", 32)))
	if err != nil {
		t.Fatal(err)
	}
	same := func(*x509.Certificate) {}
	load := func(node string, change func(*x509.Certificate)) (*Identity, error) {
		cert, keyFile, caFile := ownFiles(t, dir, node, ca, key, change)
		return LoadIdentity(node, cert, keyFile, caFile)
	}
	server, err := load("db1", same)
	if err != nil {
		t.Fatal(err)
	}
	client, err := load("db2", func(c *x509.Certificate) { c.DNSNames = nil }) // common name only
	if err != nil {
		t.Fatal(err)
	}
	s := startServerOf(t, &fakeHandler{}, server, "127.0.0.1:0")
	cfg := clientConfig(t, s)
	cfg.Identity = client
	c, _ := startClient(t, cfg)
	if _, err := c.Seal(t.Context(), SealRequest{Candidate: "db2"}); err != nil {
		t.Error(err)
	}
	// A renewed certificate is taken up without a restart, a broken file is not.
	before, _ := server.material()
	if _, err := load("db1", same); err != nil {
		t.Fatal(err)
	}
	renewed, _ := server.material()
	if renewed.Leaf.Equal(before.Leaf) {
		t.Error("renewed certificate is not used")
	}
	if err := os.WriteFile(filepath.Join(dir, "db1.crt"), []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	if kept, _ := server.material(); !kept.Leaf.Equal(renewed.Leaf) {
		t.Error("last good certificate is lost")
	}
	for name, change := range map[string]func(*x509.Certificate){
		"expired":     func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Hour) },
		"client only": func(c *x509.Certificate) { c.ExtKeyUsage = c.ExtKeyUsage[:1] },
		"other name":  func(c *x509.Certificate) { c.DNSNames = []string{"db7"} },
	} {
		if _, err := load("db3", change); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
