// Package plugin fetches alerts: GET url?after=cursor answers {"alerts": [{"id": "…", "title": "…"}], "next": "…", "more": false},
// and next is the cursor from then on.
package plugin

import (
	"strings"

	"watchkeeper"
)

type plugin struct {
	url, token string
}

// The keys of a source's file. A key that isn't here is refused by name.
type config struct {
	// In seconds.
	PollInterval uint32 `json:"poll_interval"`
	// Its host goes into asks of plugin.yaml, for the operator to grant.
	URL string `json:"url,required"`
	// ${NAME} in the file is a placeholder here, which the host replaces in the request's header.
	Token string `json:"token"`
}

func init() { watchkeeper.Register(&plugin{}) }

func (p *plugin) Configure(text []byte) (watchkeeper.Feed, error) {
	config := config{PollInterval: 60}
	if err := watchkeeper.ReadConfig(text, &config); err != nil {
		return watchkeeper.Feed{}, err
	}
	if config.PollInterval == 0 {
		return watchkeeper.Feed{}, watchkeeper.InvalidConfig("poll_interval", "must be 1 or more")
	}
	if !strings.HasPrefix(config.URL, "http://") && !strings.HasPrefix(config.URL, "https://") {
		return watchkeeper.Feed{}, watchkeeper.InvalidConfig("url", "must begin with http:// or https://")
	}
	p.url, p.token = config.URL, config.Token
	return watchkeeper.Poll(uint64(config.PollInterval) * 1000), nil
}

// Fetch answers what is new since cursor. It is that of the last batch that is safely stored, so whatever it stands for may be
// acknowledged to the other side now.
func (p *plugin) Fetch(cursor *string) (watchkeeper.Batch, error) {
	body, err := p.ask(cursor)
	if err != nil {
		return watchkeeper.Batch{}, err
	}
	return readBatch(body, cursor)
}

// Check says whether the other side can be reached and takes the credentials.
func (p *plugin) Check() error {
	_, err := p.ask(nil)
	return err
}

func (p *plugin) ask(cursor *string) ([]byte, error) {
	request := watchkeeper.Request{URL: p.url, Headers: watchkeeper.Pairs{{Key: "accept", Value: "application/json"}}}
	if p.token != "" {
		request.Headers = append(request.Headers, watchkeeper.Pair{Key: "authorization", Value: "Bearer " + p.token})
	}
	if cursor != nil {
		request.Query = watchkeeper.Pairs{{Key: "after", Value: *cursor}}
	}
	response, err := request.Send()
	if err != nil {
		return nil, err
	}
	return response.Success()
}
