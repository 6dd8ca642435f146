import type { Recogniser } from './recogniser.ts'

/** What somebody calls a secret, up to where it begins. */
const CALLED = String.raw`(?:pass(?:word|wort|phrase|wd|code)|pwd|secret|api[ _-]?key|access[ _-]?key|secret[ _-]?key|auth[ _-]?token|access[ _-]?token|bearer|credentials?)["'\x60]{0,2}(?: (?:is|are|was|to|as|ist))?[ :=]{1,3}[!-/:-@[-\x60{-~]{0,4}`
const behindCalled = new RegExp(`(?<=${CALLED})`, 'iy')

/** Whether something in a text is called a secret by what stands before it. */
export function isCalledSecret(text: string, at: number): boolean {
  behindCalled.lastIndex = at
  return behindCalled.test(text)
}

const SECRET = { kind: 'SECRET', group: 'secrets' } as const

/** Credentials by the marks that their issuers give them. A private key in PEM is found by its frame, in `segments.ts`. */
export const secrets: readonly Recogniser[] = [
  {
    ...SECRET,
    id: 'aws_key_id',
    starts: 'm20 l20',
    initials: 'A',
    pattern: /(?:AKIA|ASIA|ABIA|ACCA)[A-Z2-7]{16}(?!\w)/y,
  },
  {
    ...SECRET,
    id: 'aws_secret_key',
    starts: 'l1-32 m1-32 n1-32 d1-32',
    token: 40,
    pattern:
      /(?=[A-Za-z0-9/+]{40}(?![\w/+=]))(?<![\w/+=-])(?=[\w/+]{0,39}[A-Z])(?=[\w/+]{0,39}[a-z])(?=[\w/+]{0,39}\d)[A-Za-z0-9/+]{40}/y,
    context: /(?:aws|secret|access.?key)/,
  },
  {
    ...SECRET,
    id: 'github_token',
    starts: 'm32',
    initials: 'g',
    pattern: /(?:gh[pousr]_[A-Za-z0-9]{36,255}|github_pat_[A-Za-z0-9_]{60,255})(?!\w)/y,
  },
  {
    ...SECRET,
    id: 'gitlab_token',
    starts: 'l4-7[-]',
    initials: 'g',
    pattern: /gl(?:pat|ptt|cbt|dt|rt|ft|imt|agent|soat)-[A-Za-z0-9_-]{20,64}(?!\w)/y,
  },
  {
    ...SECRET,
    id: 'model_key',
    starts: 'l2[-]',
    initials: 's',
    // OpenAI, Anthropic, OpenRouter and those who copied their form.
    pattern: /sk-[A-Za-z0-9_-]{20,256}(?![\w-])/y,
    holds: (text) => /\d/.test(text),
  },
  {
    ...SECRET,
    id: 'stripe_key',
    starts: 'm19-32 l19-32',
    initials: 'srw',
    pattern: /(?:sk|rk|whsec)_(?:(?:live|test)_)?[A-Za-z0-9]{16,247}(?!\w)/y,
  },
  {
    ...SECRET,
    id: 'slack_token',
    starts: 'l4[-]',
    initials: 'x',
    // A short one without a figure is a word or two.
    pattern:
      /(?:xox[abeoprs]|xapp|xwfp)-(?=[A-Za-z-]*\d|[A-Za-z0-9-]{11})[A-Za-z0-9-]{10,250}(?![\w-])/y,
  },
  {
    ...SECRET,
    id: 'google_key',
    starts: 'm4-32 l4-32',
    initials: 'Ay',
    quick: ({ codes, start }) => codes[start + 1] === 0x49 || codes[start + 1] === 0x61,
    pattern: /(?:AIza[A-Za-z0-9_-]{35}|ya29\.[A-Za-z0-9_-]{20,512})(?![\w-])/y,
  },
  {
    ...SECRET,
    id: 'hugging_face_token',
    starts: 'm32 l32',
    initials: 'hndsglp',
    pattern:
      /(?:hf|npm|dop_v1|doo_v1|shpat|shpss|glpat|pul|lin_api|dckr_pat|pypi)_[A-Za-z0-9_]{30,128}(?!\w)/y,
  },
  {
    ...SECRET,
    id: 'vault_token',
    starts: 'l3[.]',
    initials: 'h',
    pattern: /hv[sbr]\.[A-Za-z0-9_-]{24,256}(?![\w-])/y,
  },
  {
    ...SECRET,
    id: 'sendgrid_key',
    starts: 'l2[.]',
    initials: 'S',
    pattern: /SG\.[A-Za-z0-9_-]{16,32}\.[A-Za-z0-9_-]{32,64}(?![\w-])/y,
  },
  {
    ...SECRET,
    id: 'jwt',
    starts: 'm3-32 l3-32',
    initials: 'e',
    quick: ({ codes, start }) => codes[start + 1] === 0x79,
    pattern:
      /eyJ[A-Za-z0-9_-]{8,2040}\.eyJ[A-Za-z0-9_-]{8,2040}(?:\.[A-Za-z0-9_-]{0,1024})?(?![\w-])/y,
  },
  {
    ...SECRET,
    id: 'labelled',
    starts: 'l1-32 m1-32 n1-32 d1-32',
    token: 8,
    // A word alone, without a figure, is talk about passwords.
    pattern: new RegExp(`(?<=${CALLED})[!-~]{8,}`, 'iy'),
    holds: (text) => /\d/.test(text) && /[A-Za-z]/.test(text) && !/^https?:/.test(text),
  },
]
