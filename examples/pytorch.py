"""Plain PyTorch on the HUD: start `hud up`, set the REDIS_URL that it prints, run this, look at the page."""

import torch

from hud_publisher import Publisher

hud = Publisher(name="a first network")
model = torch.nn.Sequential(torch.nn.Linear(2, 32), torch.nn.Tanh(), torch.nn.Linear(32, 1))
optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
grid = torch.cartesian_prod(torch.linspace(-3, 3, 120), torch.linspace(-3, 3, 160))
target = torch.sin(grid[:, :1] * 2) * torch.cos(grid[:, 1:])

for step in range(500):
    loss = torch.nn.functional.mse_loss(model(grid), target)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    hud.log({"loss": loss, "learning_rate": optimizer.param_groups[0]["lr"]}, step=step)
    if hud.wants_frame():
        hud.frame((model(grid).reshape(120, 160) / 2 + 0.5).clamp(0, 1), step=step)
hud.close()
