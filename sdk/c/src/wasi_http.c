/* Sends requests over the component's imports of wasi:http; compiled for plugins that have them. */

#ifdef WK_HTTP

#include <string.h>

#include "bindings.h"

#define NANOSECONDS ((uint64_t)1000000)
/* One write to a stream takes no more. */
#define CHUNK ((size_t)4096)
/* How much is asked for at once. */
#define PIECE ((size_t)256 * 1024)
/* The host lets no larger answer through. */
#define LARGEST ((size_t)16 << 20)

_Static_assert(sizeof(wk_pair) == sizeof(wasi_http_types_tuple2_field_name_field_value_t), "headers are handed over as they are");

/* WASI's own, in lower case, in the order of its error-code. */
static const char *const names[] = {
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
};

static wk_error *failed(const wk_target *target, wk_text why)
{
    return wk_failed(wk_join(target->what, WK(": "), why));
}

static wk_error *unavailable(const wk_target *target, wk_text why)
{
    return wk_unavailable(wk_join(target->what, WK(": "), why), 0);
}

static wk_error *refused(const wk_target *target, const wasi_http_types_error_code_t *code)
{
    if (code->tag == WASI_HTTP_TYPES_ERROR_CODE_HTTP_REQUEST_DENIED)
        return failed(target, WK("not granted"));
    return unavailable(target, wk_from_cstr(names[code->tag]));
}

static wasi_http_types_method_t method_of(wk_text name)
{
    static const char *const known[] = { "GET",     "HEAD",    "POST",  "PUT",  "DELETE",
                                         "CONNECT", "OPTIONS", "TRACE", "PATCH" };
    wasi_http_types_method_t method = { .tag = WASI_HTTP_TYPES_METHOD_OTHER, .val.other = lower_text(name) };
    for (uint8_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
        if (wk_same(name, wk_from_cstr(known[i])))
            method.tag = i;
    return method;
}

static wk_error *make(const wk_target *target, wk_pairs given, wasi_http_types_own_outgoing_request_t *outgoing)
{
    wasi_http_types_list_tuple2_field_name_field_value_t headers = {
        (wasi_http_types_tuple2_field_name_field_value_t *)given.items, given.count
    };
    wasi_http_types_own_fields_t fields;
    wasi_http_types_header_error_t wrong;
    if (!wasi_http_types_static_fields_from_list(&headers, &fields, &wrong))
        return failed(target, WK("has headers that no request can have"));
    *outgoing = wasi_http_types_constructor_outgoing_request(fields);
    wasi_http_types_borrow_outgoing_request_t request = wasi_http_types_borrow_outgoing_request(*outgoing);
    wasi_http_types_method_t method = method_of(target->method);
    wasi_http_types_scheme_t scheme = {
        .tag = target->tls ? WASI_HTTP_TYPES_SCHEME_HTTPS : WASI_HTTP_TYPES_SCHEME_HTTP
    };
    plugin_string_t authority = lower_text(target->authority);
    plugin_string_t path = lower_text(target->path);
    if (wasi_http_types_method_outgoing_request_set_method(request, &method) &&
        wasi_http_types_method_outgoing_request_set_scheme(request, &scheme) &&
        wasi_http_types_method_outgoing_request_set_authority(request, &authority) &&
        wasi_http_types_method_outgoing_request_set_path_with_query(request, &path))
        return NULL;
    wasi_http_types_outgoing_request_drop_own(*outgoing);
    return failed(target, WK("is no request that can be sent"));
}

/* Where the host has no such timeout, the call's deadline is what bounds it. */
static wasi_http_types_own_request_options_t options_of(const wk_request *request)
{
    wasi_http_types_own_request_options_t made = wasi_http_types_constructor_request_options();
    wasi_http_types_borrow_request_options_t options = wasi_http_types_borrow_request_options(made);
    uint64_t timeout = (request->timeout_ms ? request->timeout_ms : 20000) * NANOSECONDS;
    wasi_http_types_method_request_options_set_connect_timeout(options, &timeout);
    wasi_http_types_method_request_options_set_first_byte_timeout(options, &timeout);
    wasi_http_types_method_request_options_set_between_bytes_timeout(options, &timeout);
    return made;
}

/* An error of a stream is the plugin's to drop. True where the stream is at its end. */
static bool is_end(const wasi_io_streams_stream_error_t *error)
{
    if (error->tag == WASI_IO_STREAMS_STREAM_ERROR_CLOSED)
        return true;
    wasi_io_error_error_drop_own(error->val.last_operation_failed);
    return false;
}

/* Takes the body over. */
static wk_error *write_body(const wk_target *target, wasi_http_types_own_outgoing_body_t body, wk_text bytes)
{
    wasi_http_types_own_output_stream_t stream;
    bool well = wasi_http_types_method_outgoing_body_write(wasi_http_types_borrow_outgoing_body(body), &stream);
    if (well) {
        for (size_t at = 0; well && at < bytes.len; at += CHUNK) {
            size_t len = bytes.len - at < CHUNK ? bytes.len - at : CHUNK;
            plugin_list_u8_t chunk = { (uint8_t *)bytes.ptr + at, len };
            wasi_io_streams_stream_error_t wrong;
            well = wasi_io_streams_method_output_stream_blocking_write_and_flush(
                wasi_io_streams_borrow_output_stream(stream), &chunk, &wrong);
            if (!well)
                is_end(&wrong);
        }
        wasi_io_streams_output_stream_drop_own(stream);
    }
    if (!well) {
        wasi_http_types_outgoing_body_drop_own(body);
        return unavailable(target, WK("the request's body can't be sent"));
    }
    wasi_http_types_error_code_t code;
    return wasi_http_types_static_outgoing_body_finish(body, NULL, &code) ? NULL : refused(target, &code);
}

/* What `content-length` says, where that is believable; a first guess where it says nothing. */
static size_t announced(const wk_pairs *headers)
{
    wk_text value = wk_value(headers, WK("content-length"));
    size_t len = 0;
    if (value.len == 0 || value.len > 8)
        return PIECE;
    for (size_t i = 0; i < value.len; i++) {
        if (value.ptr[i] < '0' || value.ptr[i] > '9')
            return PIECE;
        len = len * 10 + (size_t)(value.ptr[i] - '0');
    }
    return len <= LARGEST ? len : PIECE;
}

/* The bytes up to the stream's end. The host puts each piece right where it belongs, for memory lasts the whole call. */
static bool read_all(wasi_http_types_own_input_stream_t stream, size_t room, wk_text *whole)
{
    char *bytes = wk_alloc(room + 1);
    size_t len = 0;
    plugin_list_u8_t piece;
    wasi_io_streams_stream_error_t over;
    for (;;) {
        size_t left = room - len;
        size_t most = left && left < PIECE ? left : PIECE;
        wk_receive_at(bytes + len, left < most ? 0 : most);
        bool read = wasi_io_streams_method_input_stream_blocking_read(wasi_io_streams_borrow_input_stream(stream), most,
                                                                      &piece, &over);
        wk_receive_at(NULL, 0);
        if (!read)
            break;
        if (piece.len > left) {
            room = room * 2 > len + piece.len ? room * 2 : len + piece.len;
            char *larger = wk_alloc(room + 1);
            memcpy(larger, bytes, len);
            bytes = larger;
        }
        if (piece.len && (char *)piece.ptr != bytes + len)
            memcpy(bytes + len, piece.ptr, piece.len);
        len += piece.len;
    }
    *whole = (wk_text){ bytes, len };
    return is_end(&over);
}

static wk_pairs headers_of(wasi_http_types_borrow_incoming_response_t response)
{
    wasi_http_types_own_headers_t fields = wasi_http_types_method_incoming_response_headers(response);
    wasi_http_types_list_tuple2_field_name_field_value_t read;
    wasi_http_types_method_fields_entries(wasi_http_types_borrow_fields(fields), &read);
    wasi_http_types_fields_drop_own(fields);
    wk_pairs headers = { (wk_pair *)read.ptr, read.len, read.len };
    for (size_t i = 0; i < headers.count; i++) {
        wk_pair *header = &headers.items[i];
        for (size_t at = 0; at < header->key.len; at++) {
            char *c = (char *)header->key.ptr + at;
            if (*c >= 'A' && *c <= 'Z')
                *c = (char)(*c - 'A' + 'a');
        }
        /* An empty value isn't an absent one. */
        if (!header->value.len)
            header->value.ptr = "";
    }
    return headers;
}

/* Takes the answer over. */
static wk_error *read_answer(const wk_target *target, wasi_http_types_own_incoming_response_t answer, wk_response *into)
{
    wasi_http_types_borrow_incoming_response_t response = wasi_http_types_borrow_incoming_response(answer);
    into->status = wasi_http_types_method_incoming_response_status(response);
    into->headers = headers_of(response);
    bool well = false;
    wasi_http_types_own_incoming_body_t body;
    wasi_http_types_own_input_stream_t stream;
    if (wasi_http_types_method_incoming_response_consume(response, &body)) {
        if (wasi_http_types_method_incoming_body_stream(wasi_http_types_borrow_incoming_body(body), &stream)) {
            well = read_all(stream, announced(&into->headers), &into->body);
            wasi_io_streams_input_stream_drop_own(stream);
        }
        wasi_http_types_incoming_body_drop_own(body);
    }
    wasi_http_types_incoming_response_drop_own(answer);
    return well ? NULL : unavailable(target, WK("the answer broke off"));
}

static wk_error *wait(const wk_target *target, wasi_http_types_borrow_future_incoming_response_t future,
                      wk_response *response)
{
    wasi_http_types_own_pollable_t ready = wasi_http_types_method_future_incoming_response_subscribe(future);
    wasi_io_poll_method_pollable_block(wasi_io_poll_borrow_pollable(ready));
    wasi_io_poll_pollable_drop_own(ready);
    wasi_http_types_result_result_own_incoming_response_error_code_void_t answer;
    if (!wasi_http_types_method_future_incoming_response_get(future, &answer) || answer.is_err)
        return failed(target, WK("an answer that was waited for is not there"));
    if (answer.val.ok.is_err)
        return refused(target, &answer.val.ok.val.err);
    return read_answer(target, answer.val.ok.val.ok, response);
}

wk_error *wk_send(const wk_request *request, wk_response *response)
{
    wk_target target;
    wasi_http_types_own_outgoing_request_t outgoing;
    wk_error *error = wk_take_apart(request, &target);
    if (!error)
        error = make(&target, request->headers, &outgoing);
    if (error)
        return error;
    wasi_http_types_own_outgoing_body_t body;
    bool has_body = request->body.ptr != NULL;
    if (has_body &&
        !wasi_http_types_method_outgoing_request_body(wasi_http_types_borrow_outgoing_request(outgoing), &body)) {
        wasi_http_types_outgoing_request_drop_own(outgoing);
        return failed(&target, WK("has no body to write"));
    }
    wasi_http_types_own_request_options_t options = options_of(request);
    wasi_http_types_own_future_incoming_response_t future;
    wasi_http_types_error_code_t code;
    if (!wasi_http_outgoing_handler_handle(outgoing, &options, &future, &code)) {
        if (has_body)
            wasi_http_types_outgoing_body_drop_own(body);
        return refused(&target, &code);
    }
    if (has_body)
        error = write_body(&target, body, request->body);
    if (!error)
        error = wait(&target, wasi_http_types_borrow_future_incoming_response(future), response);
    wasi_http_types_future_incoming_response_drop_own(future);
    return error;
}

#endif
