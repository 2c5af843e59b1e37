// SPDX-License-Identifier: Apache-2.0

package mysqlcheck

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"syscall"

	"github.com/go-sql-driver/mysql"
)

// FailureClass says what an error proves about the server.
type FailureClass uint8

// Failure classes. Only Refused, together with a process that is gone, is
// death; Answered is proof of life.
const (
	// NoFailure: no error.
	NoFailure FailureClass = iota
	// Refused: nobody listens on the address.
	Refused
	// TimedOut: no answer before the deadline.
	TimedOut
	// Dropped: the connection ended in the middle.
	Dropped
	// Answered: the server, or its host, answered with an error.
	Answered
)

// String returns the class in lower case.
func (c FailureClass) String() string {
	switch c {
	case NoFailure:
		return "none"
	case Refused:
		return "refused"
	case TimedOut:
		return "timed out"
	case Dropped:
		return "dropped"
	case Answered:
		return "answered"
	default:
		return fmt.Sprintf("FailureClass(%d)", uint8(c))
	}
}

// Failure is an error as a value that can be journaled.
type Failure struct {
	Class  FailureClass
	Number uint16 // the server's error number; 0: none
	Reason Reason
	Text   string
}

// answers is what the server's own errors mean. Every one of them is proof that
// the server lives; a number that is absent here means ReasonProbeFailed.
var answers = map[uint16]Reason{
	1040: ReasonTooManyConnections, // ER_CON_COUNT_ERROR
	1203: ReasonTooManyConnections, // ER_TOO_MANY_USER_CONNECTIONS
	1226: ReasonTooManyConnections, // ER_USER_LIMIT_REACHED

	1044: ReasonAccessDenied, // ER_DBACCESS_DENIED_ERROR
	1045: ReasonAccessDenied, // ER_ACCESS_DENIED_ERROR
	1251: ReasonAccessDenied, // ER_NOT_SUPPORTED_AUTH_MODE
	1524: ReasonAccessDenied, // ER_PLUGIN_IS_NOT_LOADED: the account's authentication plugin
	1698: ReasonAccessDenied, // ER_ACCESS_DENIED_NO_PASSWORD_ERROR
	1820: ReasonAccessDenied, // ER_MUST_CHANGE_PASSWORD
	1862: ReasonAccessDenied, // ER_MUST_CHANGE_PASSWORD_LOGIN
	3118: ReasonAccessDenied, // ER_ACCOUNT_HAS_BEEN_LOCKED
	3159: ReasonAccessDenied, // ER_SECURE_TRANSPORT_REQUIRED
	4151: ReasonAccessDenied, // MariaDB: ER_ACCOUNT_HAS_BEEN_LOCKED

	1129: ReasonHostDenied, // ER_HOST_IS_BLOCKED
	1130: ReasonHostDenied, // ER_HOST_NOT_PRIVILEGED

	2026: ReasonTLSFailed, // CR_SSL_CONNECTION_ERROR
	3032: ReasonOfflineMode,
	1053: ReasonServerShuttingDown, // ER_SERVER_SHUTDOWN
	3168: ReasonServerShuttingDown, // ER_SERVER_ISNT_AVAILABLE

	1142: ReasonPrivilegeMissing, // ER_TABLEACCESS_DENIED_ERROR
	1143: ReasonPrivilegeMissing, // ER_COLUMNACCESS_DENIED_ERROR
	1227: ReasonPrivilegeMissing, // ER_SPECIFIC_ACCESS_DENIED_ERROR
	1370: ReasonPrivilegeMissing, // ER_PROCACCESS_DENIED_ERROR

	3:    ReasonDiskFull, // EE_WRITE
	20:   ReasonDiskFull, // EE_DISK_FULL
	1021: ReasonDiskFull, // ER_DISK_FULL
	1026: ReasonDiskFull, // ER_ERROR_ON_WRITE
	1114: ReasonDiskFull, // ER_RECORD_FILE_FULL
	1598: ReasonDiskFull, // ER_BINLOG_LOGGING_IMPOSSIBLE

	1205: WarnCommitWaitsForLock, // ER_LOCK_WAIT_TIMEOUT
	1213: WarnCommitWaitsForLock, // ER_LOCK_DEADLOCK

	1290: ReasonPrimaryReadOnly, // ER_OPTION_PREVENTS_STATEMENT
	1836: ReasonPrimaryReadOnly, // ER_READ_ONLY_MODE
	1792: ReasonPrimaryReadOnly, // ER_CANT_EXECUTE_IN_READ_ONLY_TRANSACTION
}

// Classify says what err proves about the server. A nil error is NoFailure.
func Classify(err error) Failure {
	if err == nil {
		return Failure{}
	}
	f := Failure{Text: err.Error()}
	var answer *mysql.MySQLError
	var alert tls.AlertError
	var record tls.RecordHeaderError
	var certificate *tls.CertificateVerificationError
	var authority x509.UnknownAuthorityError
	switch {
	case errors.As(err, &answer):
		f.Class, f.Number = Answered, answer.Number
		f.Reason = answers[answer.Number]
		if f.Reason == "" {
			f.Reason = ReasonProbeFailed
		}
		// ER_GET_ERRNO carries the errno in its text: 28 is ENOSPC, 30 EROFS.
		if answer.Number == 1030 {
			switch {
			case strings.Contains(answer.Message, "error 28"), strings.Contains(answer.Message, "errno: 28"):
				f.Reason = ReasonDiskFull
			case strings.Contains(answer.Message, "error 30"), strings.Contains(answer.Message, "errno: 30"):
				f.Reason = ReasonDiskReadOnly
			}
		}
	case errors.Is(err, mysql.ErrNoTLS), errors.As(err, &alert), errors.As(err, &record), errors.As(err, &certificate), errors.As(err, &authority):
		f.Class, f.Reason = Answered, ReasonTLSFailed
	case errors.Is(err, mysql.ErrNativePassword), errors.Is(err, mysql.ErrOldPassword), errors.Is(err, mysql.ErrCleartextPassword),
		errors.Is(err, mysql.ErrUnknownPlugin):
		f.Class, f.Reason = Answered, ReasonAccessDenied
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled), errors.Is(err, os.ErrDeadlineExceeded),
		errors.Is(err, syscall.ETIMEDOUT), errors.Is(err, syscall.EAGAIN), errors.Is(err, errInFlight), errors.Is(err, errNoAnswerYet):
		// EAGAIN is a unix socket whose accept queue is full.
		f.Class, f.Reason = TimedOut, ReasonServerSilent
	case errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, syscall.ENOENT):
		f.Class, f.Reason = Refused, ReasonServerDead
	case errors.Is(err, syscall.EACCES), errors.Is(err, syscall.EPERM):
		// The socket is there and its file mode keeps us out.
		f.Class, f.Reason = Answered, ReasonAccessDenied
	case errors.Is(err, ErrUnsupported):
		f.Class, f.Reason = Answered, ReasonVersionUnsupported
	case lostConnection(err):
		f.Class, f.Reason = Dropped, ReasonServerSilent
	default:
		// An answer that we did not understand is an answer all the same: our
		// own mistake must not pass for the server's silence.
		f.Class, f.Reason = Answered, ReasonProbeFailed
	}
	return f
}

// lostConnection reports whether err comes from the network, or from a
// connection that is no more.
func lostConnection(err error) bool {
	var network net.Error
	var number syscall.Errno
	return errors.Is(err, mysql.ErrInvalidConn) || errors.Is(err, driver.ErrBadConn) || errors.Is(err, sql.ErrConnDone) ||
		errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) ||
		errors.As(err, &network) || errors.As(err, &number)
}
