/** The page on which a person lets an agent act for them. It holds nothing of the request: its script asks for that. */
export function consentPage(uid: string, ticket: string): string {
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="referrer" content="no-referrer">
<title>May this agent act for you? · Sallyport</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="/oauth2/consent.css">
<script src="/oauth2/consent.js"></script>
</head>
<body>
<main id="consent" data-id="${uid}" data-ticket="${ticket}">
<p class="brand">Sallyport</p>
<h1 id="title">May this agent act for you?</h1>
<p id="status" role="status">Loading…</p>
<p id="sign-in" hidden><a href="/" target="_blank" rel="noopener">Open the console to sign in</a></p>
<div id="request" hidden>
<section aria-labelledby="h-who">
<h2 id="h-who">Who asks</h2>
<dl id="who"></dl>
</section>
<section aria-labelledby="h-what">
<h2 id="h-what">What it may do for you</h2>
<ul id="what"></ul>
</section>
<section aria-labelledby="h-pay" id="payments" hidden>
<h2 id="h-pay">What it may pay, and no more</h2>
<ul id="pay"></ul>
</section>
<section aria-labelledby="h-when">
<h2 id="h-when">For how long</h2>
<p id="lasts">Five minutes at most from when the agent picks your answer up, for this instance of it, and for agents that it names to do a part of it. Nothing else is allowed by this, and nothing is
remembered: next time you are asked again.</p>
<p>Then your browser goes back to the program on this machine that listens at <b id="back"></b>.</p>
</section>
</div>
<div id="acts" hidden>
<button type="button" id="refuse">Refuse</button>
<button type="button" id="allow" hidden>Allow with passkey</button>
</div>
<p id="deadline"></p>
<p id="error" role="alert"></p>
<noscript><p>This page needs JavaScript: a passkey cannot sign without it. Close it to refuse.</p></noscript>
</main>
</body>
</html>
`
}
