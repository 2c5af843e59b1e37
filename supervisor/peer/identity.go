// SPDX-License-Identifier: Apache-2.0

package peer

import (
	"bytes"
	"crypto/ed25519"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"math/big"
	"os"
	"slices"
	"sync"
	"time"
)

// MinSecret is the least length of a shared secret in bytes, without surrounding white space. The secret is not stretched: it must be
// random, for example `openssl rand -base64 32`.
const MinSecret = 16

// derivation names the purpose of the derived key, so that the same secret can serve for others.
const derivation = "highwater peer channel: certificate authority v1"

// The derived certificates are valid from long ago until the end of what X.509 can say, and are judged at an instant between: a host
// whose clock starts in 1970 takes part at once.
var (
	derivedNotBefore = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)
	derivedNotAfter  = time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)
	derivedJudgedAt  = time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC)
)

// Identity is what a node shows to its peers and what it demands of them.
type Identity struct {
	node     string
	material func() (*tls.Certificate, *x509.CertPool) // own certificate, trusted authorities
	judgedAt func() time.Time
}

// Node is the name that the identity was made for.
func (id *Identity) Node() string { return id.node }

// DeriveIdentity makes the identity of node from the cluster's secrets. The first secret signs, all of them verify: a secret is replaced
// by adding the new one behind the old one everywhere, then putting it first, then removing the old one.
func DeriveIdentity(cluster, node string, secrets ...[]byte) (*Identity, error) {
	switch {
	case cluster == "":
		return nil, errors.New("derive peer identity: cluster name is empty")
	case node == "":
		return nil, errors.New("derive peer identity: node name is empty")
	case len(secrets) == 0:
		return nil, errors.New("derive peer identity: no secret")
	}
	roots := x509.NewCertPool()
	var certificate *tls.Certificate
	for i, secret := range secrets {
		ca, key, err := deriveAuthority(cluster, secret)
		if err != nil {
			return nil, fmt.Errorf("derive peer identity from secret %d: %w", i+1, err)
		}
		roots.AddCert(ca)
		if i > 0 {
			continue
		}
		certificate, err = signLeaf(ca, key, node)
		if err != nil {
			return nil, fmt.Errorf("derive peer identity: %w", err)
		}
	}
	return &Identity{
		node:     node,
		material: func() (*tls.Certificate, *x509.CertPool) { return certificate, roots },
		judgedAt: func() time.Time { return derivedJudgedAt },
	}, nil
}

// deriveAuthority is deterministic: every node derives the same key and, since ed25519 signatures are too, the same certificate.
func deriveAuthority(cluster string, secret []byte) (*x509.Certificate, ed25519.PrivateKey, error) {
	secret = bytes.TrimSpace(secret)
	if len(secret) < MinSecret {
		return nil, nil, fmt.Errorf("secret has %d bytes, need %d", len(secret), MinSecret)
	}
	seed, err := hkdf.Key(sha256.New, secret, []byte(cluster), derivation, ed25519.SeedSize)
	if err != nil {
		return nil, nil, fmt.Errorf("derive key: %w", err)
	}
	key := ed25519.NewKeyFromSeed(seed)
	ca, err := sign(&x509.Certificate{
		SerialNumber:          big.NewInt(1),
		Subject:               pkix.Name{CommonName: "highwater"},
		NotBefore:             derivedNotBefore,
		NotAfter:              derivedNotAfter,
		KeyUsage:              x509.KeyUsageCertSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
		MaxPathLenZero:        true,
	}, nil, key.Public(), key)
	return ca, key, err
}

func signLeaf(ca *x509.Certificate, caKey ed25519.PrivateKey, node string) (*tls.Certificate, error) {
	public, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("generate key: %w", err)
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, fmt.Errorf("choose serial number: %w", err)
	}
	leaf, err := sign(&x509.Certificate{
		SerialNumber: serial.Add(serial, big.NewInt(1)),
		Subject:      pkix.Name{CommonName: node},
		DNSNames:     []string{node},
		NotBefore:    derivedNotBefore,
		NotAfter:     derivedNotAfter,
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
	}, ca, public, caKey)
	if err != nil {
		return nil, err
	}
	return &tls.Certificate{Certificate: [][]byte{leaf.Raw}, PrivateKey: key, Leaf: leaf}, nil
}

// sign makes a certificate; a nil parent means self-signed.
func sign(template, parent *x509.Certificate, public, key any) (*x509.Certificate, error) {
	if parent == nil {
		parent = template
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, key)
	if err != nil {
		return nil, fmt.Errorf("sign certificate: %w", err)
	}
	return x509.ParseCertificate(der)
}

// LoadIdentity takes certificates of the operator's own (PEM). The leaf must name node, exactly and as its only node of this cluster, in a
// DNS SAN or, where it has none, in the common name, and allow both client and server authentication. The files are read anew for every
// handshake, so a renewed certificate needs no restart; while they are unreadable the last good ones serve.
func LoadIdentity(node, certFile, keyFile, caFile string) (*Identity, error) {
	f := &identityFiles{certFile: certFile, keyFile: keyFile, caFile: caFile}
	if err := f.read(); err != nil {
		return nil, err
	}
	id := &Identity{node: node, material: f.current, judgedAt: time.Now}
	if _, err := onlyName(f.certificate.Leaf, func(name string) bool { return name == node }); err != nil {
		return nil, fmt.Errorf("load peer identity: certificate %s does not name node %q", certFile, node)
	}
	for _, usage := range []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth} {
		if err := id.verifyChain(f.certificate.Leaf, f.certificate.Certificate[1:], usage); err != nil {
			return nil, fmt.Errorf("load peer identity: verify %s with %s: %w", certFile, caFile, err)
		}
	}
	return id, nil
}

// identityFiles holds the last good content of the operator's files.
type identityFiles struct {
	certFile, keyFile, caFile string

	mu          sync.Mutex
	certificate *tls.Certificate
	pool        *x509.CertPool
}

func (f *identityFiles) read() error {
	certificate, err := tls.LoadX509KeyPair(f.certFile, f.keyFile)
	if err != nil {
		return fmt.Errorf("load peer certificate: %w", err)
	}
	pem, err := os.ReadFile(f.caFile)
	if err != nil {
		return fmt.Errorf("load peer authority: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return fmt.Errorf("load peer authority: %s holds no certificate", f.caFile)
	}
	f.certificate, f.pool = &certificate, pool
	return nil
}

func (f *identityFiles) current() (*tls.Certificate, *x509.CertPool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	_ = f.read() // half-written files: the pair read before still serves
	return f.certificate, f.pool
}

// verifyChain checks that leaf was signed by an authority we trust, for this usage.
func (id *Identity) verifyChain(leaf *x509.Certificate, rest [][]byte, usage x509.ExtKeyUsage) error {
	_, roots := id.material()
	intermediates := x509.NewCertPool()
	for _, der := range rest {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			return fmt.Errorf("parse intermediate certificate: %w", err)
		}
		intermediates.AddCert(c)
	}
	_, err := leaf.Verify(x509.VerifyOptions{
		Roots:         roots,
		Intermediates: intermediates,
		CurrentTime:   id.judgedAt(),
		KeyUsages:     []x509.ExtKeyUsage{usage},
	})
	return err
}

// onlyName is the one name of leaf that is a node. A certificate for several nodes would let each speak as the others.
func onlyName(leaf *x509.Certificate, isNode func(string) bool) (string, error) {
	names := leaf.DNSNames
	if len(names) == 0 {
		names = []string{leaf.Subject.CommonName}
	}
	found := ""
	for _, name := range names {
		switch {
		case !isNode(name) || name == found:
		case found != "":
			return "", refuse(ReasonAmbiguousNode, "certificate names nodes %q and %q", found, name)
		default:
			found = name
		}
	}
	if found == "" {
		return "", refuse(ReasonUnknownNode, "certificate names no node of this cluster: %q", names)
	}
	return found, nil
}

// verify judges the other side of a connection and returns its node name.
func (id *Identity) verify(state tls.ConnectionState, usage x509.ExtKeyUsage, isNode func(string) bool) (string, error) {
	if len(state.PeerCertificates) == 0 {
		return "", refuse(ReasonNoCertificate, "no certificate presented")
	}
	leaf := state.PeerCertificates[0]
	rest := make([][]byte, 0, len(state.PeerCertificates)-1)
	for _, c := range state.PeerCertificates[1:] {
		rest = append(rest, c.Raw)
	}
	if err := id.verifyChain(leaf, rest, usage); err != nil {
		return "", &Error{Reason: ReasonWrongCertificate, Err: err}
	}
	return id.nameOf(leaf, isNode)
}

// nameOf returns the node that a verified certificate names; it is not this one.
func (id *Identity) nameOf(leaf *x509.Certificate, isNode func(string) bool) (string, error) {
	name, err := onlyName(leaf, func(n string) bool { return n == id.node || isNode(n) })
	if err != nil {
		return "", err
	}
	if name == id.node {
		return "", refuse(ReasonSelf, "certificate names this node, %q", name)
	}
	return name, nil
}

// serverConfig demands a certificate of one of the nodes. The certificate is requested, not required, by crypto/tls: VerifyConnection runs
// in any case, and so the refusal has a reason.
func (id *Identity) serverConfig(isNode func(string) bool) *tls.Config {
	return &tls.Config{
		MinVersion:             tls.VersionTLS13,
		ClientAuth:             tls.RequestClientCert,
		SessionTicketsDisabled: true,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			certificate, _ := id.material()
			return certificate, nil
		},
		GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
			if !slices.Contains(hello.SupportedVersions, tls.VersionTLS13) {
				return nil, refuse(ReasonTLSVersion, "offers no TLS 1.3")
			}
			return nil, nil
		},
		VerifyConnection: func(state tls.ConnectionState) error {
			_, err := id.verify(state, x509.ExtKeyUsageClientAuth, isNode)
			return err
		},
	}
}

// clientConfig demands the certificate of exactly the node peer. crypto/tls's own verification is off because it would judge by host name
// and wall clock; VerifyConnection does all of it, on every connection.
func (id *Identity) clientConfig(peer string) *tls.Config {
	return &tls.Config{
		MinVersion:             tls.VersionTLS13,
		InsecureSkipVerify:     true,
		SessionTicketsDisabled: true,
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			certificate, _ := id.material()
			return certificate, nil
		},
		VerifyConnection: func(state tls.ConnectionState) error {
			_, err := id.verify(state, x509.ExtKeyUsageServerAuth, func(name string) bool { return name == peer })
			return err
		},
	}
}
