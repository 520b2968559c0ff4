// Package watchkeeper is what Watchkeeper plugins in Go are written with.
//
// A plugin is a value that has the methods of one or more of the interfaces here, registered once:
//
//	func init() { watchkeeper.Register(&plugin{}) }
//
// Which of them the component exports is said in plugin.yaml. Calls come one at a time, many to an instance, and the host
// may start a fresh instance between any two; so nothing but what Configure set up may be remembered. What each type may
// hold is written in the contract, wit/watchkeeper.wit. Times are Unix milliseconds.
package watchkeeper

// A Source is an origin of alerts that an operator configures.
type Source interface {
	// Configure checks the keys of the source's file, a JSON object (see ReadConfig), and says how the source wants to be fed.
	// It is called once in each instance, before anything else.
	Configure(config []byte) (Feed, error)
}

// A Parser turns what arrived into alerts.
type Parser interface {
	// Parse answers all of the payload's alerts, or an error for the whole of it. None is an answer, too.
	Parse(payload Payload) ([]Alert, error)
}

// A Responder answers senders directly: handshakes, challenges.
type Responder interface {
	// Respond answers nil where this is no handshake, and the payload is to be parsed.
	Respond(payload Payload) (*Reply, error)
}

// A Poller fetches alerts from somewhere that doesn't push.
type Poller interface {
	// Fetch gets the cursor of the last batch that is safely stored, nil at the very first call; so that may be acknowledged to
	// the other side now.
	Fetch(cursor *string) (Batch, error)
}

// A Checker tells whether the plugin can do its work.
type Checker interface {
	Check() error
}

// A PromptBuilder writes the briefing for a brain.
type PromptBuilder interface {
	// Score says how well the plugin knows alerts like this; 0: not at all. The highest wins.
	Score(alert Alert) uint32
	Build(briefing Briefing) (Prompt, error)
}

// A Playbook is a brain without a model.
type Playbook interface {
	// Next answers the next step. The same outcomes give the same step: it keeps no state.
	Next(briefing Briefing, outcomes []Outcome) (Step, error)
}

// Registered is the plugin; the component's exports lead to it.
var Registered any

// Register says which value the plugin is. Call it in an init function.
func Register(plugin any) {
	if Registered != nil {
		panic("watchkeeper.Register was called twice; a plugin is one value")
	}
	Registered = plugin
}
