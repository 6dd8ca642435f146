import { StrictMode } from 'react'
import { createRoot } from 'react-dom/client'
import { App } from './app.tsx'
import { mendLanguage } from './lib/language.ts'
import './styles/tokens.css'
import './styles/base.css'
import './styles/parts.css'
import './styles/controls.css'
import './styles/shell.css'
import './styles/overview.css'
import './styles/decisions.css'
import './styles/screens.css'

mendLanguage()

const root = document.getElementById('root')
if (root) {
  createRoot(root).render(
    <StrictMode>
      <App />
    </StrictMode>,
  )
}
