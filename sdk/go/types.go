package watchkeeper

import "unicode/utf8"

// Severity is how urgent an alert is.
type Severity uint8

const (
	Info Severity = iota
	Warning
	Critical
)

// Status is whether an alert goes on.
type Status uint8

const (
	Firing Status = iota
	Resolved
)

// Pair is a key with its value.
type Pair struct {
	Key, Value string
}

// Pairs have an order, and each key once.
type Pairs []Pair

// Get answers a key's value, and whether it is there.
func (pairs Pairs) Get(key string) (string, bool) {
	for _, pair := range pairs {
		if pair.Key == key {
			return pair.Value, true
		}
	}
	return "", false
}

// Alert is one occurrence of one alert.
type Alert struct {
	// ID says what alerts: the sender's own stable identity, 1 to 512 bytes.
	ID       string
	Severity Severity
	Status   Status
	// Title is one line for a person.
	Title       string
	Description string
	// Labels identify the alert, and are correlated on.
	Labels Pairs
	// Annotations describe it.
	Annotations Pairs
	// StartsAt is nil where the sender doesn't say.
	StartsAt *uint64
	EndsAt   *uint64
}

// Payload is what arrived, as it arrived.
type Payload struct {
	Body        []byte
	ContentType *string
	// Attributes are HTTP headers (names in lower case) or a message's metadata.
	Attributes Pairs
}

// Text answers the body as text; the error names the first byte that is not UTF-8.
func (p Payload) Text() (string, error) {
	for at := 0; at < len(p.Body); {
		r, size := utf8.DecodeRune(p.Body[at:])
		if r == utf8.RuneError && size == 1 {
			return "", InvalidPayload("body is not UTF-8: byte %d", at)
		}
		at += size
	}
	return string(p.Body), nil
}

// JSON answers the body as ReadJSON reads it.
func (p Payload) JSON() (any, error) { return ReadJSON(p.Body) }

// Attribute answers an HTTP header (its name in lower case) or one of a message's metadata, and whether it is there.
func (p Payload) Attribute(name string) (string, bool) { return p.Attributes.Get(name) }

// Feed is how a source wants to be fed; make one with Webhook, Poll or Subscription.
type Feed struct {
	WebhookPath    string
	PollIntervalMS uint64
	Transport      string
	Settings       Pairs
}

// Webhook is fed by POSTs to path.
func Webhook(path string) Feed { return Feed{WebhookPath: path} }

// Poll is fed by Fetch every so many milliseconds, at least 1000.
func Poll(intervalMS uint64) Feed { return Feed{PollIntervalMS: intervalMS} }

// Subscription is fed by one of the host's own transports, such as nats.
func Subscription(transport string, settings Pairs) Feed {
	return Feed{Transport: transport, Settings: settings}
}

// Reply is a responder's answer to a sender.
type Reply struct {
	// Status is an HTTP status, 200 to 599.
	Status  uint16
	Headers Pairs
	Body    []byte
}

// Batch is what a poller fetched.
type Batch struct {
	Alerts []Alert
	// Cursor is handed to the next Fetch once this batch is safely stored.
	Cursor *string
	// More: there is more now; don't wait for the interval.
	More bool
}

// Tool is one that calls may name.
type Tool struct {
	Name, Description string
	// InputSchema is a JSON schema.
	InputSchema string
}

// PastReport is of an earlier incident like this one.
type PastReport struct {
	Incident, Title string
	EndedAt         uint64
	Report          Report
}

// Briefing is what is known when an investigation begins.
type Briefing struct {
	Incident string
	// Source is the name of the source that the alert came from.
	Source string
	Alert  Alert
	// Related are the incident's other alerts, newest first.
	Related []Alert
	History []PastReport
	Tools   []Tool
	Now     uint64
}

// Call is a step that a brain proposes.
type Call struct {
	Tool string
	// Input is a JSON object.
	Input   string
	Purpose string
}

// OutcomeStatus is how a call ended.
type OutcomeStatus uint8

const (
	Ran OutcomeStatus = iota
	CouldNot
	TimedOut
	Refused
	Interrupted
)

// Outcome is what became of a call.
type Outcome struct {
	Call       Call
	Status     OutcomeStatus
	Output     string
	Truncated  bool
	ExitCode   *int32
	DurationMS uint64
}

// Evidence is an excerpt of an outcome's output.
type Evidence struct {
	// Outcome is an index into the outcomes.
	Outcome uint32
	Excerpt string
}

// Finding is a statement with its evidence.
type Finding struct {
	Statement string
	Evidence  []Evidence
}

// Report concludes an investigation.
type Report struct {
	Summary string
	// RootCause is nil where it isn't known.
	RootCause       *string
	Findings        []Finding
	Recommendations []string
	// Confidence is from 0 to 1.
	Confidence float64
}

// Prompt is the briefing for a brain.
type Prompt struct {
	Instructions, Task string
	// FirstSteps are made before the brain is first asked.
	FirstSteps []Call
}

// Step is a playbook's: calls, or the report that concludes.
type Step struct {
	Calls  []Call
	Report *Report
}
