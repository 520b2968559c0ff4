package watchkeeper

import (
	"slices"
	"strconv"
	"strings"
)

// Request is one to a host that the plugin asks for (asks in plugin.yaml) and the operator grants (allow_hosts in the source's
// file).
//
// A value of the configuration that the operator wrote as ${NAME} is a placeholder here; put it into a header, and the host
// puts in the secret as the request leaves.
type Request struct {
	// Method is in upper case; GET if it is empty.
	Method string
	// URL is absolute, http or https.
	URL string
	// Query is put behind the URL, encoded.
	Query Pairs
	// Headers: host, content-length and the connection's own are the host's to set.
	Headers Pairs
	// Body has up to 16 MiB; nil if there is none.
	Body []byte
	// TimeoutMS is how long to wait for the answer, 20 seconds if it is 0. The call's own deadline holds besides.
	TimeoutMS uint64
}

// Response is a whole answer, whatever its status.
type Response struct {
	Status uint16
	// Headers have names in lower case.
	Headers Pairs
	// Body has up to 16 MiB.
	Body []byte
}

// Send waits for the whole answer; redirects aren't followed. The error is an unavailable one where there is no answer, and a
// failed one where the host isn't granted, or the request is none. A status that means failure is an answer.
func (r Request) Send() (Response, error) {
	if r.Method == "" {
		r.Method = "GET"
	}
	if r.TimeoutMS == 0 {
		r.TimeoutMS = 20_000
	}
	target, err := r.target()
	if err != nil {
		return Response{}, err
	}
	return sender(r, target)
}

// Success answers the body where the status means success; else the error that the status means: an unauthorized one for 401
// and 403, an unavailable one (with retry-after, if there is one) for whatever else.
func (r Response) Success() ([]byte, error) {
	switch {
	case r.Status >= 200 && r.Status <= 299:
		return r.Body, nil
	case r.Status == 401 || r.Status == 403:
		return nil, Unauthorized("the other side answered %d", r.Status)
	}
	var retryAfterMS *uint64
	value, _ := r.Headers.Get("retry-after")
	if seconds, err := strconv.ParseUint(value, 10, 32); err == nil {
		milliseconds := seconds * 1000
		retryAfterMS = &milliseconds
	}
	return nil, Unavailable(retryAfterMS, "the other side answered %d", r.Status)
}

// Target is where a request goes, as wasi:http wants it.
type Target struct {
	TLS             bool
	Authority, Path string
}

var sender = func(Request, Target) (Response, error) {
	return Response{}, Failed("HTTP is for plugins that export `poller` or have `asks: { http: [HOST] }` in plugin.yaml; " +
		"in tests, watchkeeper.Connect takes what answers")
}

// Connect says what answers requests from now on. In a component that is the host.
func Connect(send func(Request, Target) (Response, error)) { sender = send }

func (r Request) target() (Target, error) {
	scheme, rest, _ := strings.Cut(r.URL, "://")
	rest, _, _ = strings.Cut(rest, "#")
	end := strings.IndexAny(rest, "/?")
	if end < 0 {
		end = len(rest)
	}
	target := Target{scheme == "https", rest[:end], rest[end:]}
	if scheme != "http" && scheme != "https" || target.Authority == "" || strings.ContainsAny(rest, " \t\r\n") {
		return target, Failed("%s: no http:// or https:// URL", r.URL)
	}
	if !strings.HasPrefix(target.Path, "/") {
		target.Path = "/" + target.Path
	}
	for _, pair := range r.Query {
		separator := "?"
		if strings.Contains(target.Path, "?") {
			separator = "&"
		}
		target.Path += separator + encode(pair.Key) + "=" + encode(pair.Value)
	}
	return target, nil
}

// encode leaves what RFC 3986 calls unreserved, and writes each other byte as %XX.
func encode(text string) string {
	plain := []byte("-._~")
	var encoded strings.Builder
	for _, c := range []byte(text) {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', slices.Contains(plain, c):
			encoded.WriteByte(c)
		default:
			const digits = "0123456789ABCDEF"
			encoded.Write([]byte{'%', digits[c>>4], digits[c&15]})
		}
	}
	return encoded.String()
}
