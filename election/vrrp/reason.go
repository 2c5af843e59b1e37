// SPDX-License-Identifier: Apache-2.0

package vrrp

// A Reason says why an advertisement was not accepted. It is an error whose
// text, and whose String, is a word in snake_case fit for a metric label. The
// zero Reason is not used. The set is closed.
type Reason uint8

// Reasons found by [Advertisement.Parse].
const (
	// ReasonAddressFamily: source and destination are not of one address
	// family. It is the caller's mistake, no packet can cause it.
	ReasonAddressFamily Reason = 1 + iota
	// ReasonTruncated: shorter than the fixed header, or than its own count of
	// addresses promises.
	ReasonTruncated
	// ReasonVersion: neither version 2 nor 3, or version 2 over IPv6.
	ReasonVersion
	// ReasonType: not an ADVERTISEMENT, the only type there is (RFC 9568 §5.2.2).
	ReasonType
	// ReasonLength: longer than its own count of addresses promises.
	ReasonLength
	// ReasonChecksum: the checksum fits in no dialect.
	ReasonChecksum
	// ReasonVRID: virtual router identifier 0.
	ReasonVRID
	// ReasonIntervalZero: advertisement interval 0 (RFC 9568 erratum 8301).
	ReasonIntervalZero
	// ReasonNoAddresses: version 3 without an address (RFC 9568 §5.2.5).
	ReasonNoAddresses
	// ReasonAuthType: version 2 with an authentication type other than none and
	// simple text password, or, found by the receiver, another type than its own.
	ReasonAuthType
)

// Reasons found by a receiver that knows the IP header and its own configuration.
const (
	// ReasonInterface: it came in over another interface.
	ReasonInterface Reason = ReasonAuthType + 1 + iota
	// ReasonOtherVRID: it is meant for another virtual router on the same link.
	// That is no fault.
	ReasonOtherVRID
	// ReasonTTL: the TTL or hop limit is not 255 (RFC 9568 §5.1.1.3, §5.1.2.3):
	// a router forwarded it.
	ReasonTTL
	// ReasonDestination: unicast where multicast is configured, or the reverse.
	ReasonDestination
	// ReasonOwnSource: it carries this router's own source address.
	ReasonOwnSource
	// ReasonSource: its source is not among those accepted.
	ReasonSource
	// ReasonOtherVersion: a valid advertisement of the version not configured here.
	ReasonOtherVersion
	// ReasonAuthData: version 2 with another password (RFC 3768 §7.1).
	ReasonAuthData
	// ReasonInterval: version 2 with another interval than the one configured
	// here (RFC 3768 §7.1). Version 3 learns the interval instead.
	ReasonInterval

	// NumReasons is one more than the last Reason, the length of an array
	// indexed by Reason.
	NumReasons
)

// String returns the word for r, for example "bad_checksum".
func (r Reason) String() string {
	switch r {
	case ReasonAddressFamily:
		return "address_family"
	case ReasonTruncated:
		return "truncated"
	case ReasonVersion:
		return "bad_version"
	case ReasonType:
		return "bad_type"
	case ReasonLength:
		return "bad_length"
	case ReasonChecksum:
		return "bad_checksum"
	case ReasonVRID:
		return "bad_vrid"
	case ReasonIntervalZero:
		return "interval_zero"
	case ReasonNoAddresses:
		return "no_addresses"
	case ReasonAuthType:
		return "auth_type"
	case ReasonInterface:
		return "other_interface"
	case ReasonOtherVRID:
		return "other_vrid"
	case ReasonTTL:
		return "bad_ttl"
	case ReasonDestination:
		return "bad_destination"
	case ReasonOwnSource:
		return "own_source"
	case ReasonSource:
		return "source_not_accepted"
	case ReasonOtherVersion:
		return "other_version"
	case ReasonAuthData:
		return "auth_data"
	case ReasonInterval:
		return "interval_mismatch"
	default:
		return "unknown"
	}
}

// Error returns the same word as String.
func (r Reason) Error() string { return r.String() }
