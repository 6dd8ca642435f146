/** The looks of the consent page: the console's colours, in both themes. Nothing on it is bigger for allowing than for refusing. */
export const CONSENT_STYLE = `:root {
  color-scheme: light dark;
  --bg: light-dark(#f3f4f7, #0c111c);
  --surface: light-dark(#ffffff, #131a28);
  --surface-2: light-dark(#eef0f5, #1b2435);
  --line: light-dark(#e1e4ec, #222c40);
  --line-strong: light-dark(#8d96aa, #5d6b88);
  --text: light-dark(#141b2d, #e7ebf4);
  --muted: light-dark(#566079, #9ba7bf);
  --accent: light-dark(#2f48b8, #8ea5ff);
  --accent-text: light-dark(#2a41a8, #a9baff);
  --deny: light-dark(#b01f2a, #ff8a87);
  --deny-soft: light-dark(#fce8e8, #3a1a1d);
  --needs: light-dark(#7d4f00, #f0b955);
  --needs-soft: light-dark(#fbf0d9, #33270f);
}
[data-theme='light'] { color-scheme: light; }
[data-theme='dark'] { color-scheme: dark; }
* { box-sizing: border-box; }
[hidden] { display: none !important; }
html {
  font: 14px/1.5 Inter, 'SF Pro Text', 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif;
  color: var(--text);
  background: var(--bg);
}
body { margin: 0; padding: 32px 16px; }
main {
  width: min(560px, 100%);
  margin: 0 auto;
  padding: 24px 28px 28px;
  border: 1px solid var(--line);
  border-radius: 16px;
  background: var(--surface);
  overflow-wrap: anywhere;
}
h1, h2, p, ul, dl, dd { margin: 0; padding: 0; }
h1 { font-size: 20px; line-height: 28px; font-weight: 650; }
h2 { margin: 20px 0 6px; font-size: 13.5px; font-weight: 650; color: var(--muted); }
.brand { margin-bottom: 12px; font-weight: 680; color: var(--accent-text); }
#status { margin-top: 4px; color: var(--muted); }
section p + p { margin-top: 6px; }
ul { list-style: none; }
dl > div { display: grid; grid-template-columns: 84px minmax(0, 1fr); gap: 12px; padding: 3px 0; }
dt { color: var(--muted); }
li { padding: 8px 12px; border: 1px solid var(--line); border-radius: 8px; }
li + li { margin-top: 6px; }
li b, dd b { font-weight: 650; }
.note { display: block; color: var(--muted); }
.mono { font-family: ui-monospace, 'SF Mono', Menlo, Consolas, monospace; font-size: 12.5px; }
.kind {
  display: inline-block;
  margin-left: 6px;
  padding: 0 7px;
  border-radius: 5px;
  font-size: 11.5px;
  font-weight: 600;
  background: var(--surface-2);
  color: var(--muted);
}
.kind.writes { background: var(--needs-soft); color: var(--needs); }
#acts { display: flex; flex-wrap: wrap; gap: 10px; margin-top: 24px; }
button {
  flex: 1 1 200px;
  min-height: 42px;
  padding: 8px 14px;
  border: 1px solid var(--line-strong);
  border-radius: 8px;
  background: var(--surface);
  color: var(--text);
  font: inherit;
  font-weight: 600;
  cursor: pointer;
}
button:hover { background: var(--surface-2); }
button:disabled { cursor: progress; color: var(--muted); border-color: var(--line); }
:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; border-radius: 6px; }
a { color: var(--accent-text); text-decoration: underline; text-underline-offset: 2px; }
#sign-in { margin-top: 12px; }
#deadline { margin-top: 10px; color: var(--muted); font-variant-numeric: tabular-nums; }
#error { color: var(--deny); }
#error:not(:empty) { margin-top: 12px; padding: 9px 12px; border-radius: 8px; background: var(--deny-soft); }
@media (max-width: 480px) {
  body { padding: 0; }
  main { min-height: 100vh; border: 0; border-radius: 0; padding: 20px 18px 24px; }
}
`
