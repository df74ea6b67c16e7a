"""Operations: metrics, lag, health and the page. Nothing here decides anything about users."""
