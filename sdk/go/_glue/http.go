// Package http sends the SDK's requests over the component's imports of wasi:http.
//
// Whatever the host hands over is dropped here, at its time. Left to Go, it would be dropped in the course of a collection of
// garbage, which may come while the host asks for memory and must not be called.
package http

import (
	"fmt"
	"strconv"
	"strings"

	witRuntime "go.bytecodealliance.org/pkg/wit/runtime"
	witTypes "go.bytecodealliance.org/pkg/wit/types"
	"watchkeeper"
	"wit_component/wasi_http_outgoing_handler"
	"wit_component/wasi_http_types"
	"wit_component/wasi_io_streams"
)

func init() { watchkeeper.Connect(send) }

const (
	nanoseconds = 1_000_000
	// One write to a stream takes no more.
	chunk = 4096
	// The host lets no more through.
	largest = 16 << 20
)

// exchange is a request on its way; what names it in errors.
type exchange struct {
	request watchkeeper.Request
	target  watchkeeper.Target
	what    string
}

func send(request watchkeeper.Request, target watchkeeper.Target) (watchkeeper.Response, error) {
	scheme := "http"
	if target.TLS {
		scheme = "https"
	}
	what := fmt.Sprintf("%s %s://%s", request.Method, scheme, target.Authority)
	return exchange{request, target, what}.run()
}

func (e exchange) run() (watchkeeper.Response, error) {
	none := watchkeeper.Response{}
	outgoing, err := e.outgoing()
	if err != nil {
		return none, err
	}
	defer outgoing.Drop()
	options := e.options()
	defer options.Drop()
	var body *wasi_http_types.OutgoingBody
	if e.request.Body != nil {
		given := outgoing.Body()
		if given.Tag() == witTypes.ResultErr {
			return none, e.failed("has no body to write")
		}
		body = given.Ok()
		defer body.Drop()
	}
	handled := wasi_http_outgoing_handler.Handle(outgoing, witTypes.Some(options))
	if handled.Tag() == witTypes.ResultErr {
		return none, e.refused(handled.Err())
	}
	future := handled.Ok()
	defer future.Drop()
	if body != nil {
		if err := e.write(body); err != nil {
			return none, err
		}
	}
	return e.wait(future)
}

func (e exchange) outgoing() (*wasi_http_types.OutgoingRequest, error) {
	headers := make([]witTypes.Tuple2[string, []uint8], len(e.request.Headers))
	for i, pair := range e.request.Headers {
		headers[i] = witTypes.Tuple2[string, []uint8]{F0: pair.Key, F1: []uint8(pair.Value)}
	}
	fields := wasi_http_types.FieldsFromList(headers)
	if fields.Tag() == witTypes.ResultErr {
		return nil, e.failed("has headers that no request can have")
	}
	scheme := wasi_http_types.MakeSchemeHttp()
	if e.target.TLS {
		scheme = wasi_http_types.MakeSchemeHttps()
	}
	outgoing := wasi_http_types.MakeOutgoingRequest(fields.Ok())
	for _, set := range []witTypes.Result[witTypes.Unit, witTypes.Unit]{
		outgoing.SetMethod(method(e.request.Method)),
		outgoing.SetScheme(witTypes.Some(scheme)),
		outgoing.SetAuthority(witTypes.Some(e.target.Authority)),
		outgoing.SetPathWithQuery(witTypes.Some(e.target.Path)),
	} {
		if set.Tag() == witTypes.ResultErr {
			outgoing.Drop()
			return nil, e.failed("is no request that can be sent")
		}
	}
	return outgoing, nil
}

func method(name string) wasi_http_types.Method {
	known := map[string]func() wasi_http_types.Method{
		"GET":     wasi_http_types.MakeMethodGet,
		"HEAD":    wasi_http_types.MakeMethodHead,
		"POST":    wasi_http_types.MakeMethodPost,
		"PUT":     wasi_http_types.MakeMethodPut,
		"DELETE":  wasi_http_types.MakeMethodDelete,
		"CONNECT": wasi_http_types.MakeMethodConnect,
		"OPTIONS": wasi_http_types.MakeMethodOptions,
		"TRACE":   wasi_http_types.MakeMethodTrace,
		"PATCH":   wasi_http_types.MakeMethodPatch,
	}
	if make, ok := known[name]; ok {
		return make()
	}
	return wasi_http_types.MakeMethodOther(name)
}

// options: where the host has no such timeout, the call's deadline is what bounds it.
func (e exchange) options() *wasi_http_types.RequestOptions {
	options := wasi_http_types.MakeRequestOptions()
	timeout := witTypes.Some(e.request.TimeoutMS * nanoseconds)
	options.SetConnectTimeout(timeout)
	options.SetFirstByteTimeout(timeout)
	options.SetBetweenBytesTimeout(timeout)
	return options
}

func (e exchange) write(body *wasi_http_types.OutgoingBody) error {
	broken := watchkeeper.Unavailable(nil, "%s: the request's body can't be sent", e.what)
	given := body.Write()
	if given.Tag() == witTypes.ResultErr {
		return broken
	}
	stream := given.Ok()
	defer stream.Drop()
	for rest := e.request.Body; len(rest) > 0; {
		count := min(len(rest), chunk)
		written := stream.BlockingWriteAndFlush(rest[:count])
		if written.Tag() == witTypes.ResultErr {
			dropError(written.Err())
			return broken
		}
		rest = rest[count:]
	}
	stream.Drop()
	finished := wasi_http_types.OutgoingBodyFinish(body, witTypes.None[*wasi_http_types.Fields]())
	if finished.Tag() == witTypes.ResultErr {
		return e.refused(finished.Err())
	}
	return nil
}

func (e exchange) wait(future *wasi_http_types.FutureIncomingResponse) (watchkeeper.Response, error) {
	ready := future.Subscribe()
	ready.Block()
	ready.Drop()
	answer := future.Get()
	if answer.Tag() == witTypes.OptionNone || answer.Some().Tag() == witTypes.ResultErr {
		return watchkeeper.Response{}, e.failed("an answer that was waited for is not there")
	}
	outcome := answer.Some().Ok()
	if outcome.Tag() == witTypes.ResultErr {
		return watchkeeper.Response{}, e.refused(outcome.Err())
	}
	response := outcome.Ok()
	defer response.Drop()
	return e.read(response)
}

func (e exchange) read(incoming *wasi_http_types.IncomingResponse) (watchkeeper.Response, error) {
	response := watchkeeper.Response{Status: incoming.Status()}
	fields := incoming.Headers()
	for _, field := range fields.Entries() {
		pair := watchkeeper.Pair{Key: strings.ToLower(field.F0), Value: string(field.F1)}
		response.Headers = append(response.Headers, pair)
	}
	fields.Drop()
	brokeOff := watchkeeper.Unavailable(nil, "%s: the answer broke off", e.what)
	consumed := incoming.Consume()
	if consumed.Tag() == witTypes.ResultErr {
		return response, brokeOff
	}
	body := consumed.Ok()
	defer body.Drop()
	opened := body.Stream()
	if opened.Tag() == witTypes.ResultErr {
		return response, brokeOff
	}
	stream := opened.Ok()
	defer stream.Drop()
	length, _ := response.Headers.Get("content-length")
	if announced, err := strconv.Atoi(length); err == nil && announced <= largest {
		response.Body = make([]byte, 0, max(announced, 0))
	}
	for {
		part := stream.BlockingRead(1 << 16)
		if part.Tag() == witTypes.ResultErr {
			if dropError(part.Err()) {
				return response, nil
			}
			return response, brokeOff
		}
		response.Body = append(response.Body, part.Ok()...)
		// What it came in need not wait for the call's end.
		witRuntime.Unpin()
	}
}

// dropError says whether the stream is at its end, which is no error.
func dropError(err wasi_io_streams.StreamError) bool {
	if err.Tag() == wasi_io_streams.StreamErrorClosed {
		return true
	}
	err.LastOperationFailed().Drop()
	return false
}

func (e exchange) failed(why string) error {
	return watchkeeper.Failed("%s: %s", e.what, why)
}

func (e exchange) refused(code wasi_http_types.ErrorCode) error {
	if code.Tag() == wasi_http_types.ErrorCodeHttpRequestDenied {
		return e.failed("not granted")
	}
	return watchkeeper.Unavailable(nil, "%s: %s", e.what, names[code.Tag()])
}

// names are WASI's own, in lower case, in the order of its error-code.
var names = [...]string{
	"dns-timeout", "dns-error", "destination-not-found", "destination-unavailable", "destination-ip-prohibited",
	"destination-ip-unroutable", "connection-refused", "connection-terminated", "connection-timeout",
	"connection-read-timeout", "connection-write-timeout", "connection-limit-reached", "tls-protocol-error",
	"tls-certificate-error", "tls-alert-received", "http-request-denied", "http-request-length-required",
	"http-request-body-size", "http-request-method-invalid", "http-request-uri-invalid", "http-request-uri-too-long",
	"http-request-header-section-size", "http-request-header-size", "http-request-trailer-section-size",
	"http-request-trailer-size", "http-response-incomplete", "http-response-header-section-size",
	"http-response-header-size", "http-response-body-size", "http-response-trailer-section-size",
	"http-response-trailer-size", "http-response-transfer-coding", "http-response-content-coding",
	"http-response-timeout", "http-upgrade-failed", "http-protocol-error", "loop-detected", "configuration-error",
	"internal-error",
}
