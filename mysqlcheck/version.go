// SPDX-License-Identifier: Apache-2.0

package mysqlcheck

import (
	"cmp"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Flavor is the line a server descends from. Percona Server counts as MySQL.
type Flavor uint8

// Flavors. The zero value is a server nobody has asked yet.
const (
	UnknownFlavor Flavor = iota
	MySQL
	MariaDB
)

// String returns the product's own spelling.
func (f Flavor) String() string {
	switch f {
	case MySQL:
		return "MySQL"
	case MariaDB:
		return "MariaDB"
	default:
		return "unknown"
	}
}

// Version is a server's flavour and release.
type Version struct {
	Flavor              Flavor
	Major, Minor, Patch int
	Raw                 string // as @@version said it
}

// ErrUnsupported says that Highwater does not know how to run this server.
var ErrUnsupported = errors.New("unsupported server version")

// ParseVersion reads @@version and @@version_comment. Examples are "9.7.4-2",
// "8.0.36-28" with comment "Percona Server (GPL)", and
// "10.11.19-MariaDB-0+deb12u1-log". MariaDB before 11.0 may put "5.5.5-" in
// front of its version for the sake of old replicas; that prefix is dropped.
func ParseVersion(version, comment string) (Version, error) {
	v := Version{Flavor: MySQL, Raw: version}
	number := version
	if strings.Contains(strings.ToLower(version), "mariadb") || strings.Contains(strings.ToLower(comment), "mariadb") {
		v.Flavor = MariaDB
		number = strings.TrimPrefix(number, "5.5.5-")
	}
	if i := strings.IndexFunc(number, func(r rune) bool { return r != '.' && (r < '0' || r > '9') }); i >= 0 {
		number = number[:i]
	}
	parts := strings.Split(number, ".")
	if len(parts) != 3 {
		return Version{Raw: version}, fmt.Errorf("%w: %q is not major.minor.patch", ErrUnsupported, version)
	}
	for i, p := range []*int{&v.Major, &v.Minor, &v.Patch} {
		n, err := strconv.ParseUint(parts[i], 10, 16)
		if err != nil {
			return Version{Raw: version}, fmt.Errorf("%w: %q: %w", ErrUnsupported, version, err)
		}
		*p = int(n)
	}
	return v, nil
}

// String returns flavour and release, such as "MySQL 9.7.4".
func (v Version) String() string {
	if v.Flavor == UnknownFlavor {
		return "unknown"
	}
	return fmt.Sprintf("%s %d.%d.%d", v.Flavor, v.Major, v.Minor, v.Patch)
}

// AtLeast reports whether the release is major.minor.patch or later. It does
// not look at the flavour.
func (v Version) AtLeast(major, minor, patch int) bool {
	return release{v.Major, v.Minor, v.Patch}.compare(release{major, minor, patch}) >= 0
}

// Supported returns nil for MySQL 8.0.22 or later and MariaDB 10.5 or later,
// and an error that wraps [ErrUnsupported] for everything else. MySQL 8.0.22 is
// the first with the REPLICA words that later releases insist on; MariaDB 10.5
// is the first that splits the privileges of [Grants] out of SUPER.
func (v Version) Supported() error {
	switch {
	case v.Flavor == MySQL && v.AtLeast(8, 0, 22):
		return nil
	case v.Flavor == MariaDB && v.AtLeast(10, 5, 2):
		return nil
	case v.Flavor == UnknownFlavor:
		return fmt.Errorf("%w: %q", ErrUnsupported, v.Raw)
	default:
		return fmt.Errorf("%w: %s (want MySQL 8.0.22 or MariaDB 10.5.2, or later)", ErrUnsupported, v)
	}
}

// release is major, minor, patch.
type release [3]int

func (r release) compare(o release) int {
	for i := range r {
		if c := cmp.Compare(r[i], o[i]); c != 0 {
			return c
		}
	}
	return 0
}
