/** The page on which a person lets an agent act for them. It holds nothing of the request: its script asks for that. */
export function consentPage(uid: string, ticket: string): string {
  return `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Sallyport: may this agent act for you?</title>
<meta name="color-scheme" content="light dark">
<main id="consent" data-id="${uid}" data-ticket="${ticket}">
<h1>May this agent act for you?</h1>
<p id="status" role="status">Loading…</p>
<dl id="facts"></dl>
<button id="allow" hidden>Allow, with your passkey</button>
<button id="refuse" hidden>Refuse</button>
<p><a href="/" target="_blank" rel="noopener">Open the console to sign in</a></p>
</main>
<script src="/oauth2/consent.js" defer></script>
</html>
`
}

/** Runs in the browser; `textContent` alone, so that nothing of a request becomes markup. */
export const CONSENT_SCRIPT = `'use strict'
const main = document.getElementById('consent')
const status = document.getElementById('status')
const facts = document.getElementById('facts')
const allow = document.getElementById('allow')
const refuse = document.getElementById('refuse')
const { id, ticket } = main.dataset
let csrf = ''

async function call(path, body) {
  const answer = await fetch(path, {
    method: body === undefined ? 'GET' : 'POST',
    headers: body === undefined
      ? {}
      : { 'content-type': 'application/json', 'x-sallyport-csrf': csrf },
    body: body === undefined ? undefined : JSON.stringify(body),
  })
  const value = await answer.json()
  if (!answer.ok) throw new Error(value.title + ' [' + value.code + ']')
  return value
}

function fact(name, text) {
  const term = document.createElement('dt')
  const value = document.createElement('dd')
  term.textContent = name
  value.textContent = text
  facts.append(term, value)
}

const tell = (error) => {
  status.textContent = error.message
}

async function show() {
  const session = await call('/api/session')
  csrf = session.csrf
  if (!session.operator) {
    status.textContent = 'Sign in to the console, then come back to this page.'
    addEventListener('focus', () => location.reload(), { once: true })
    return
  }
  const view = await call('/api/consents/' + id + '/view', { ticket })
  const { statement } = view
  status.textContent = 'You are ' + session.operator.displayName + '. Nothing else is allowed by this.'
  fact('Agent', view.agent + ': ' + view.agentDescription)
  fact('Instance', statement.client)
  fact('System', view.system + ': ' + view.systemDescription)
  for (const one of view.operations) fact('May', one.name + ': ' + one.description)
  for (const one of statement.details) {
    fact('May pay', one.amount + ' minor units of ' + one.currency + ' to ' + one.creditor)
  }
  fact('Then goes to', statement.redirectUri)
  allow.hidden = refuse.hidden = false
}

allow.addEventListener('click', () => {
  sign().catch(tell)
})
refuse.addEventListener('click', () => {
  call('/api/consents/' + id + '/refuse', { ticket })
    .then(({ redirect }) => location.assign(redirect))
    .catch(tell)
})

async function sign() {
  const { statement, options } = await call('/api/consents/' + id + '/options', { ticket })
  const publicKey = PublicKeyCredential.parseRequestOptionsFromJSON(options)
  const credential = await navigator.credentials.get({ publicKey })
  const { redirect } = await call('/api/consents/' + id + '/allow', {
    ticket,
    statement,
    response: credential.toJSON(),
  })
  location.assign(redirect)
}

show().catch(tell)
`
