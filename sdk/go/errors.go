package watchkeeper

import "fmt"

// Kind sorts errors by who can act on them.
type Kind uint8

const (
	// KindInvalidConfig: the operator mends the source's file.
	KindInvalidConfig Kind = iota
	// KindInvalidPayload: the sender mends what it sends.
	KindInvalidPayload
	// KindUnauthorized: somebody's credentials are wrong.
	KindUnauthorized
	// KindUnavailable: something else is down for now.
	KindUnavailable
	// KindFailed: the plugin itself can't go on. Any other error of Go is taken for one of these.
	KindFailed
)

// Error is one that says who can act on it.
type Error struct {
	Kind Kind
	// Key is the configuration's key that is wrong, dotted where nested; empty if it is the whole.
	Key    string
	Reason string
	// RetryAfterMS is how long the host should wait; nil if it knows best.
	RetryAfterMS *uint64
}

func (e *Error) Error() string {
	if e.Key != "" {
		return e.Key + ": " + e.Reason
	}
	return e.Reason
}

// InvalidConfig names the key that the operator has to mend.
func InvalidConfig(key, format string, args ...any) error {
	return &Error{Kind: KindInvalidConfig, Key: key, Reason: fmt.Sprintf(format, args...)}
}

// InvalidPayload says where the sender is wrong, and how: alerts[3].labels: must be an object.
func InvalidPayload(format string, args ...any) error {
	return &Error{Kind: KindInvalidPayload, Reason: fmt.Sprintf(format, args...)}
}

// Unauthorized says whose credentials are wrong.
func Unauthorized(format string, args ...any) error {
	return &Error{Kind: KindUnauthorized, Reason: fmt.Sprintf(format, args...)}
}

// Unavailable says what is down for now.
func Unavailable(retryAfterMS *uint64, format string, args ...any) error {
	return &Error{Kind: KindUnavailable, Reason: fmt.Sprintf(format, args...), RetryAfterMS: retryAfterMS}
}

// Failed says why the plugin can't go on.
func Failed(format string, args ...any) error {
	return &Error{Kind: KindFailed, Reason: fmt.Sprintf(format, args...)}
}
