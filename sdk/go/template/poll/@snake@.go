// Package plugin fetches alerts. This one only counts how often it was asked.
package plugin

import (
	"fmt"
	"strconv"

	"watchkeeper"
)

type plugin struct{}

// The keys of a source's file. A key that isn't here is refused by name.
type config struct {
	// In seconds.
	PollInterval uint32 `json:"poll_interval"`
}

func init() { watchkeeper.Register(&plugin{}) }

func (*plugin) Configure(text []byte) (watchkeeper.Feed, error) {
	config := config{PollInterval: 60}
	if err := watchkeeper.ReadConfig(text, &config); err != nil {
		return watchkeeper.Feed{}, err
	}
	if config.PollInterval == 0 {
		return watchkeeper.Feed{}, watchkeeper.InvalidConfig("poll_interval", "must be 1 or more")
	}
	return watchkeeper.Poll(uint64(config.PollInterval) * 1000), nil
}

// Fetch here what is new since cursor. It is that of the last batch that is safely stored, so whatever it stands for may be
// acknowledged to the other side now. The hosts to fetch from go into `asks` of plugin.yaml.
func (*plugin) Fetch(cursor *string) (watchkeeper.Batch, error) {
	times := 1
	if cursor != nil {
		if before, err := strconv.Atoi(*cursor); err == nil {
			times = before + 1
		}
	}
	counted := strconv.Itoa(times)
	alert := watchkeeper.Alert{ID: "heartbeat", Title: fmt.Sprintf("@name@ was polled %d times", times)}
	return watchkeeper.Batch{Alerts: []watchkeeper.Alert{alert}, Cursor: &counted}, nil
}

// Say here whether the other side can be reached and takes the credentials.
func (*plugin) Check() error {
	return nil
}
