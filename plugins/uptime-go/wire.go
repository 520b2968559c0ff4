package uptime

import (
	"encoding/json"
	"fmt"
	"strconv"

	"watchkeeper"
)

// most is beyond what every language's numbers are whole.
const most = 1<<53 - 1

// A check is what monitors send.
type check struct {
	id, name, state string
	failures        int64
	since           *int64 // in seconds
	message         string
	tags            watchkeeper.Pairs
}

func readChecks(body []byte) ([]check, error) {
	payload, err := watchkeeper.ReadJSON(body)
	if err != nil {
		return nil, err
	}
	list, ok := watchkeeper.Get(payload, "checks").([]any)
	if !ok {
		return nil, watchkeeper.InvalidPayload("checks: must be a list")
	}
	checks := make([]check, len(list))
	for i, item := range list {
		reader := reader{index: i, check: item}
		checks[i] = reader.read()
		if reader.err != nil {
			return nil, reader.err
		}
	}
	return checks, nil
}

// A reader is at one check of the list, and has the first thing that is wrong in it.
type reader struct {
	index int
	check any
	err   error
}

func (r *reader) read() check {
	read := check{id: r.text("id", true), name: r.text("name", true), state: r.text("state", true)}
	if read.state != "down" && read.state != "up" {
		r.wrong("state", fmt.Sprintf("`%s` is neither `down` nor `up`", read.state))
	}
	read.failures = 1
	if failures := r.whole("failures"); failures != nil {
		read.failures = *failures
	}
	read.since = r.whole("since")
	read.message = r.text("message", false)
	read.tags = r.tags()
	return read
}

func (r *reader) wrong(key, what string) {
	if r.err == nil {
		r.err = watchkeeper.InvalidPayload("checks[%d].%s: %s", r.index, key, what)
	}
}

func (r *reader) text(key string, needed bool) string {
	value := watchkeeper.Get(r.check, key)
	text, ok := value.(string)
	if !ok && (value != nil || needed) {
		r.wrong(key, "must be a text")
	}
	return text
}

func (r *reader) whole(key string) *int64 {
	value := watchkeeper.Get(r.check, key)
	if value == nil {
		return nil
	}
	written, _ := value.(json.Number)
	number, err := strconv.ParseInt(string(written), 10, 64)
	if err != nil || number < 0 || number > most {
		r.wrong(key, "must be a whole number")
	}
	return &number
}

func (r *reader) tags() watchkeeper.Pairs {
	value := watchkeeper.Get(r.check, "tags")
	if value == nil {
		return nil
	}
	var tags watchkeeper.Pairs
	object, ok := value.(*watchkeeper.Object)
	for i := 0; ok && i < len(object.Keys); i++ {
		var text string
		text, ok = object.Values[object.Keys[i]].(string)
		tags = append(tags, watchkeeper.Pair{Key: object.Keys[i], Value: text})
	}
	if !ok {
		r.wrong("tags", "must be an object of texts")
	}
	return tags
}
