// SPDX-License-Identifier: Apache-2.0

package supervisor

import (
	"crypto/x509"
	"fmt"
	"os"

	"highwater/configs"
	"highwater/mysqlcheck"
)

// certPool reads certificate authorities from a PEM file; nil, the system's, without one.
func certPool(file string) (*x509.CertPool, error) {
	if file == "" {
		return nil, nil
	}
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read certificate authorities: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("read certificate authorities: no certificate in %s", file)
	}
	return pool, nil
}

// sourceTLS translates the tls section of the replication account.
func sourceTLS(t *configs.TLS) *mysqlcheck.SourceTLS {
	if t == nil {
		return nil
	}
	return &mysqlcheck.SourceTLS{CAFile: t.CAFile, CertFile: t.CertFile, KeyFile: t.KeyFile, Verify: t.CAFile != ""}
}
