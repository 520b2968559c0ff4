/* HTTP: where a request goes, and what a status means. What sends it is in wasi_http.c. */

#include <string.h>

#include "internal.h"

/* Whether one of `any` is at a place of `text`; then `at` is the first. */
static bool find(wk_text text, const char *any, size_t *at)
{
    for (size_t i = 0; i < text.len; i++)
        if (text.ptr[i] && strchr(any, text.ptr[i])) {
            *at = i;
            return true;
        }
    return false;
}

static wk_text from(wk_text text, size_t at)
{
    return (wk_text){ text.ptr + at, text.len - at };
}

static bool is_plain(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '.' || c == '_' ||
           c == '~';
}

/* What RFC 3986 calls unreserved as it is, each other byte as %XX. */
static wk_text encode(wk_text text)
{
    static const char digits[] = "0123456789ABCDEF";
    char *encoded = wk_alloc(text.len * 3 + 1);
    size_t len = 0;
    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.ptr[i];
        if (is_plain((char)c)) {
            encoded[len++] = (char)c;
            continue;
        }
        encoded[len++] = '%';
        encoded[len++] = digits[c >> 4];
        encoded[len++] = digits[c & 15];
    }
    return (wk_text){ encoded, len };
}

wk_error *wk_take_apart(const wk_request *request, wk_target *target)
{
    wk_text url = request->url;
    size_t at;
    target->tls = wk_begins(url, WK("https://"));
    wk_text rest = { 0 };
    if (target->tls || wk_begins(url, WK("http://")))
        rest = from(url, target->tls ? sizeof("https://") - 1 : sizeof("http://") - 1);
    if (find(rest, "#", &at))
        rest.len = at;
    size_t end = rest.len;
    if (find(rest, "/?", &at))
        end = at;
    target->authority = (wk_text){ rest.ptr, end };
    if (end == 0 || find(rest, " \t\r\n", &at))
        return wk_failed(wk_join(url, WK(": no http:// or https:// URL")));
    wk_text path = from(rest, end);
    if (!wk_begins(path, WK("/")))
        path = wk_join(WK("/"), path);
    for (size_t i = 0; i < request->query.count; i++) {
        wk_pair pair = request->query.items[i];
        wk_text separator = find(path, "?", &at) ? WK("&") : WK("?");
        path = wk_join(path, separator, encode(pair.key), WK("="), encode(pair.value));
    }
    target->path = path;
    target->method = request->method.ptr ? request->method : WK("GET");
    wk_text scheme = target->tls ? WK(" https://") : WK(" http://");
    target->what = wk_join(target->method, scheme, target->authority);
    return NULL;
}

/* 0 where it is no number of seconds. */
static uint64_t milliseconds(wk_text seconds)
{
    uint64_t total = 0;
    if (seconds.len > 9)
        return 0;
    for (size_t i = 0; i < seconds.len; i++) {
        if (seconds.ptr[i] < '0' || seconds.ptr[i] > '9')
            return 0;
        total = total * 10 + (uint64_t)(seconds.ptr[i] - '0');
    }
    return total * 1000;
}

wk_error *wk_success(const wk_response *response)
{
    if (response->status >= 200 && response->status <= 299)
        return NULL;
    wk_text answered = wk_join(WK("the other side answered "), wk_number(response->status));
    if (response->status == 401 || response->status == 403)
        return wk_unauthorized(answered);
    return wk_unavailable(answered, milliseconds(wk_value(&response->headers, WK("retry-after"))));
}

#ifndef WK_HTTP

wk_error *wk_send(const wk_request *request, wk_response *response)
{
    (void)request;
    (void)response;
    return wk_failed(WK("HTTP is for plugins that export `poller` or have `asks: { http: [HOST] }` in plugin.yaml"));
}

#endif
